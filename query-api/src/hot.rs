//! Pages that are hot: answers that a node keeps in memory and gives again while they are true.
//!
//! A node reads the log anyway, for its live streams. By the same reading it knows which pages an event changes
//! ([`concern`]), and forgets them ([`shelf`]). An answer from memory is what the read models would give:
//!
//! - A page is given only if the log was read as far as the client's token stands for, and as far as the read models are
//!   known to have come. Otherwise the query is asked of the database, as ever.
//! - A crash of the database, another generation, and records that an operator has dealt with change rows without an
//!   event. The pages from before are not given any more ([`Standing`] tells). While a record is parked in a read model,
//!   no page is kept.
//! - Only what succeeded is kept, and nothing that was marked as stale.
//!
//! Where the read models are elsewhere, a page may be as old as the news of their progress takes, some milliseconds.

mod concern;
mod shelf;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use balcony_domain::Recorded;
use balcony_event_log::{Positions, TopicPartition};
use balcony_http::answer::{Answer, Content};
use balcony_http::consistency::CONSISTENCY;
use balcony_http::list::Page;
use balcony_http::{Consistency, Problem, Visitor};
use balcony_store::{ReadModel, Reader, Standing};
use serde::Serialize;
use tokio::task::JoinHandle;

pub(crate) use self::concern::Concern;
use self::concern::changed_by;
use self::shelf::{Lease, Name, Shelf};
use crate::comment::CommentRow;

/// The hot pages of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hot(Arc<Pages>);

struct Pages {
    shelf: Mutex<Shelf<Standing, Content>>,
    reader: Reader,
    consistency: Consistency,
    /// What pages are read from.
    models: Vec<ReadModel>,
    /// On what nothing was parked when it was looked last.
    sound: Mutex<Option<Standing>>,
    counted: Counted,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

struct Counted {
    hits: metrics::Counter,
    misses: metrics::Counter,
    bytes: metrics::Gauge,
}

/// What was found, with what of it events can change; `None` where that is not known, so that it is not kept.
#[derive(Debug)]
pub(crate) struct Found<T> {
    what: T,
    concerns: Option<Vec<Concern>>,
}

/// What an answer shows, among its extensions.
#[derive(Debug, Clone)]
struct Concerns(Arc<[Concern]>);

/// How often it is looked whether anything is parked when nobody tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<T> Found<T> {
    /// What is not to be kept.
    pub(crate) fn passing(what: T) -> Self {
        Self { what, concerns: None }
    }

    /// What shows `concerns` and the comments `rows`.
    pub(crate) fn showing(what: T, concerns: impl IntoIterator<Item = Concern>, rows: &[Concern]) -> Self {
        Self { what, concerns: Some(concerns.into_iter().chain(rows.iter().copied()).collect()) }
    }
}

impl<T> Found<Page<T>> {
    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.what.items.is_empty()
    }
}

/// What `rows` show. The row beyond a page's end is among them, since it tells that there is another page.
pub(crate) fn shown(rows: &[CommentRow]) -> Vec<Concern> {
    let each =
        |row: &CommentRow| [Concern::Comment(row.id()), Concern::Movie(row.movie_id()), Concern::User(row.author_id())];
    let mut concerns: Vec<Concern> = rows.iter().flat_map(each).collect();
    concerns.sort_unstable();
    concerns.dedup();
    concerns
}

/// Answers with a list that everybody sees alike.
pub(crate) fn public_list<T: Serialize>(answer: Answer, found: Result<Found<T>, Problem>) -> Response {
    answered(found, |what| answer.public_list(what))
}

/// Answers with what is the client's alone, or no list.
pub(crate) fn json<T: Serialize>(answer: Answer, found: Result<Found<T>, Problem>) -> Response {
    answered(found, |what| answer.json(what))
}

fn answered<T>(found: Result<Found<T>, Problem>, answer: impl FnOnce(Result<T, Problem>) -> Response) -> Response {
    let (what, concerns) = match found {
        Ok(Found { what, concerns }) => (Ok(what), concerns),
        Err(problem) => (Err(problem), None),
    };
    let mut response = answer(what);
    if let Some(concerns) = concerns {
        response.extensions_mut().insert(Concerns(concerns.into()));
    }
    response
}

/// Middleware that gives pages from memory, and keeps those that it does not have.
pub(crate) async fn kept(State(hot): State<Option<Hot>>, request: Request, next: Next) -> Response {
    let Some(hot) = hot.filter(|_| *request.method() == Method::GET) else { return next.run(request).await };
    if let Some(content) = hot.find(&request) {
        hot.0.counted.hits.increment(1);
        return content.answer(request.headers());
    }
    hot.0.counted.misses.increment(1);
    let name = name(&request);
    let lease = hot.lease().await;
    let response = next.run(request).await;
    if let (Some(name), Some(lease)) = (name, lease) {
        hot.keep(name, lease, &response);
    }
    response
}

impl Hot {
    /// Pages of `most_bytes` together, read from `models` by `reader`, for clients whose tokens `consistency` reads.
    pub(crate) fn start(reader: Reader, models: &[&str], consistency: Consistency, most_bytes: usize) -> Self {
        let models = reader.models().iter().filter(|model| models.contains(&&*model.name)).cloned().collect();
        let namespace = reader.namespace();
        let counter = |found: &'static str| metrics::counter!(format!("{namespace}_hot_pages_total"), "found" => found);
        let counted = Counted {
            hits: counter("yes"),
            misses: counter("no"),
            bytes: metrics::gauge!(format!("{namespace}_hot_pages_bytes")),
        };
        let hot = Self(Arc::new(Pages {
            shelf: Mutex::new(Shelf::new(most_bytes)),
            reader,
            consistency,
            models,
            sound: Mutex::default(),
            counted,
            watcher: Mutex::default(),
        }));
        let watcher = tokio::spawn(watch(Arc::downgrade(&hot.0)));
        *lock(&hot.0.watcher) = Some(watcher);
        hot
    }

    /// The log is read from `from` on.
    pub(crate) fn begin(&self, from: Positions) {
        self.shelf().begin(from);
    }

    /// The log is not read any more.
    pub(crate) fn end(&self) {
        self.shelf().end();
    }

    /// Takes in `events`, each with its partition and offset, after which everything below `reached` was read.
    pub(crate) fn read<'e>(
        &self,
        events: impl IntoIterator<Item = (&'e TopicPartition, i64, &'e Recorded)>,
        reached: &Positions,
    ) {
        let mut shelf = self.shelf();
        for (partition, offset, recorded) in events {
            shelf.change(&changed_by(&recorded.event), partition, offset + 1);
        }
        shelf.reach(reached, || self.everywhere());
        self.0.counted.bytes.set(shelf.bytes() as f64);
    }

    /// What every read model is known to have.
    fn everywhere(&self) -> Positions {
        let known = self.0.models.iter().map(|model| self.0.reader.known(model).unwrap_or_default());
        known.reduce(|one, other| one.up_to(&other)).unwrap_or_default()
    }

    /// The page that `request` asks for, if it is here and true for whoever asks.
    fn find(&self, request: &Request) -> Option<Content> {
        let pages = &*self.0;
        let token = pages.consistency.token(request.headers()).ok()?;
        let standing = pages.reader.standing();
        if lock(&pages.sound).as_ref() != Some(&standing) {
            return None;
        }
        let name = name(request)?;
        let mut shelf = self.shelf();
        let read = shelf.read()?;
        let is_read = |(partition, next_offset): (&TopicPartition, i64)| {
            let matters = pages.models.iter().any(|model| model.topics.contains(&partition.topic));
            !matters || read.next_offset(partition) >= next_offset
        };
        if !token.0.into_iter().all(is_read) || !pages.models.iter().all(|model| pages.reader.is_within(model, read)) {
            return None;
        }
        shelf.find(&name, &standing)
    }

    /// Begins the reading of a page; `None` where it could not be kept.
    async fn lease(&self) -> Option<Lease<Standing>> {
        let Pages { reader, models, sound, .. } = &*self.0;
        let standing = reader.standing();
        if lock(sound).as_ref() != Some(&standing) {
            return None;
        }
        let forgotten = {
            let shelf = self.shelf();
            shelf.read()?;
            shelf.forgotten().clone()
        };
        let mut reached: Option<Positions> = None;
        for model in models {
            let of_model = reader.reached(model, &forgotten).await.ok()?;
            reached = Some(reached.map_or(of_model.clone(), |others| others.up_to(&of_model)));
        }
        reached.map(|reached| Lease { standing, reached })
    }

    /// Keeps the page that `response` carries, if it carries one that may be kept.
    fn keep(&self, name: Name, lease: Lease<Standing>, response: &Response) {
        let extensions = response.extensions();
        let (Some(content), Some(Concerns(concerns))) = (extensions.get::<Content>(), extensions.get::<Concerns>())
        else {
            return;
        };
        if response.headers().contains_key(CONSISTENCY) || self.0.reader.standing() != lease.standing {
            return;
        }
        self.shelf().keep(name, lease, content.clone(), content.size(), concerns.clone());
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<Standing, Content>> {
        lock(&self.0.shelf)
    }
}

impl Pages {
    /// Nothing is parked on `sound`; what was read on anything else goes.
    fn look(&self, sound: Option<Standing>) {
        let mut known = lock(&self.sound);
        if *known != sound {
            *known = sound;
            lock(&self.shelf).clear();
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.abort();
        }
    }
}

/// Looks whether anything is parked in what pages are read from, whenever rows may have changed without an event, and now
/// and then.
async fn watch(pages: std::sync::Weak<Pages>) {
    let Some(mut changes) = pages.upgrade().map(|pages| pages.reader.changes()) else { return };
    loop {
        changes.mark_unchanged();
        let Some(pages) = pages.upgrade() else { return };
        let standing = pages.reader.standing();
        let mut is_sound = true;
        for model in &pages.models {
            is_sound &= matches!(pages.reader.parked(model).await, Ok(0));
        }
        pages.look(is_sound.then_some(standing));
        drop(pages);
        let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
    }
}

/// What a request asks for: the same of everybody by its path and query, or of the user who asks.
fn name(request: &Request) -> Option<Name> {
    let uri = request.uri().path_and_query()?.as_str();
    if !request.uri().path().starts_with("/v1/me/") {
        return Some(uri.into());
    }
    let Visitor(visitor) = request.extensions().get()?;
    let user = visitor.as_ref()?.user;
    Some(format!("{user} {uri}").into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
