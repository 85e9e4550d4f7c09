use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use balcony_event_log::Positions;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::checkpoints::positions;
use crate::error::is_missing_table;
use crate::look::SharedLook;
use crate::readers::Readers;
use crate::{
    Database, Generation, GenerationState, Incarnation, Namespace, Progress, ReadModel, Row, StoreError, Value, Waiting,
};

/// Reads the live generations of some read models, each of the version that is asked for, whose tables all go by their
/// plain names. When a generation is switched, new queries go to the new one and those under way end on the old one. A
/// read model that has no live generation of its version yet makes only its own queries wait.
#[derive(Debug, Clone)]
pub struct Reader {
    database: Database,
    models: Arc<[ReadModel]>,
    slot: Arc<Slot>,
}

/// What a reader is bound to.
#[derive(Debug, Default)]
struct Slot {
    now: RwLock<Arc<Bound>>,
    /// At the generations that are live.
    looks: SharedLook<()>,
}

/// What a reading stands on; see [`Reader::stayed_on`]. Two are equal when nothing happened between them but that the
/// live generations came further by the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    incarnation: Incarnation,
    went_back: u64,
    /// How often another generation of a read model has taken the place of the one before.
    replaced: u64,
    /// How often the reader was bound to other generations.
    bindings: u64,
    /// How often it was told that a generation had changed otherwise than by the log.
    changes: u64,
}

/// Readers bound to one set of generations.
#[derive(Debug, Default)]
struct Bound {
    /// The live ones of the read models that have one.
    generations: Vec<Generation>,
    /// `None` without any.
    readers: Option<Readers>,
    /// How often the reader was bound to an older generation of a read model than before.
    went_back: u64,
    /// How often it was bound to generations among which one of those before was not any more.
    replaced: u64,
    /// How often it was bound to others.
    bindings: u64,
    /// At the checkpoints of each of the generations.
    looks: Vec<SharedLook<Positions>>,
}

/// Whether who waits wants it sooner than it comes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    Some,
    None,
}

/// How often the set of live generations is looked at when nobody tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting reader looks at the checkpoints when nobody tells of progress.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// How often something is read that does not stand. Two switches, rollbacks or crashes within one reading are for whoever
/// asked to try again.
const TIMES: usize = 3;

impl Reader {
    /// A reader of `models`. Each is read once it has a live generation of its version.
    pub async fn open(database: &Database, models: Vec<ReadModel>) -> Self {
        let reader = Self { database: database.clone(), models: models.into(), slot: Arc::default() };
        if let Err(error) = reader.rebind().await {
            tracing::debug!(%error, "the live generations could not be read");
        }
        tokio::spawn(follow(Arc::downgrade(&reader.slot), database.clone(), reader.models.clone()));
        reader
    }

    /// The namespace of what it reads.
    pub fn namespace(&self) -> &Namespace {
        self.database.namespace()
    }

    /// The read models that it reads.
    pub fn models(&self) -> &[ReadModel] {
        &self.models
    }

    /// Whether every read model has a live generation of its version, whose tables are there, and the database answers.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] names the first read model that is missing; [`StoreError::Lost`].
    pub async fn ready(&self) -> Result<(), StoreError> {
        for model in &*self.models {
            self.checkpoints(model).await?;
        }
        self.database.ping().await
    }

    /// Whether `model` has a live generation of its version.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] when it has none.
    pub async fn check(&self, model: &ReadModel) -> Result<(), StoreError> {
        self.generation(model, Instant::now()).await.map(drop)
    }

    /// Runs a query on the tables of any of the read models.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] when it names a table that is not there while a read model is missing,
    /// [`StoreError::Lost`] when it does while one has lost its tables, and [`StoreError`] as the database answers.
    pub async fn fetch<R: Row>(
        &self,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let sql = sql.into();
        let bound = self.bound();
        match bound.fetch(sql.clone(), params).await? {
            Ok(rows) => Ok(rows),
            // Few go this way; the others do not carry its state with them.
            Err(missing) => Box::pin(self.fetch_anew(bound, missing, sql, params)).await,
        }
    }

    /// Runs a query again for which a table was `missing` in `bound`: its read model may have become live just now, or its
    /// generation may be gone.
    async fn fetch_anew<R: Row>(
        &self,
        bound: Arc<Bound>,
        missing: StoreError,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let rebound = self.rebind().await?;
        let missing = if Arc::ptr_eq(&bound, &rebound) {
            missing
        } else {
            match rebound.fetch(sql, params).await? {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            }
        };
        if let Some(not_ready) = self.first_missing(&rebound) {
            return Err(not_ready);
        }
        // A read model that has lost its tables has lost its checkpoints, too.
        for place in 0..rebound.generations.len() {
            rebound.checkpoints(place).await?;
        }
        Err(missing)
    }

    /// How far `model` has committed.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] when it has no live generation of its version, and [`StoreError`] as the database
    /// answers.
    pub async fn checkpoints(&self, model: &ReadModel) -> Result<Positions, StoreError> {
        let (bound, place) = self.generation(model, Instant::now()).await?;
        bound.checkpoints(place).await
    }

    /// Waits until `model` has committed everything below `wanted` in the topics that it is made from, and says whether
    /// that was so before `deadline`.
    ///
    /// A read model that is not live yet may become so meanwhile. Any number of those who wait ask the database as often as
    /// one, and whoever brings it on in this process does not put off what is waited for.
    ///
    /// What is read after it has that, unless the database crashed between or another generation is read by then:
    /// [`Reader::stayed_on`] says so, asked after the reading about what there was before the waiting.
    /// [`Reader::undisturbed`] does it all.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] when it still has no live generation of its version then, and [`StoreError`] as the
    /// database answers.
    pub async fn wait_for(&self, model: &ReadModel, wanted: &Positions, deadline: Instant) -> Result<bool, StoreError> {
        self.wait(model, wanted, deadline, Haste::Some).await
    }

    /// As [`Reader::wait_for`], for whom it is soon enough when it comes by itself.
    ///
    /// # Errors
    /// As [`Reader::wait_for`].
    pub async fn wait_patiently_for(
        &self,
        model: &ReadModel,
        wanted: &Positions,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        self.wait(model, wanted, deadline, Haste::None).await
    }

    async fn wait(
        &self,
        model: &ReadModel,
        wanted: &Positions,
        deadline: Instant,
        haste: Haste,
    ) -> Result<bool, StoreError> {
        let mut wanted = wanted.clone();
        wanted.retain(|partition| model.topics.contains(&partition.topic));
        let progress = self.database.progress();
        let mut ticks = progress.ticks();
        // However often it is told of others' progress, it looks now and then. What others have seen since it asked last
        // is news as well, so any number of those who wait look as often as one.
        let mut asked = Instant::now();
        let mut next_look = asked;
        let mut waiting: Option<Waiting<'_>> = None;
        loop {
            ticks.mark_unchanged();
            let now = Instant::now();
            let (bound, place) = match self.generation(model, asked).await {
                Err(StoreError::NotReady(_)) if now < deadline => {
                    asked = now;
                    let _ = tokio::time::timeout_at((now + CHECK_EVERY).min(deadline), ticks.changed()).await;
                    continue;
                }
                bound => bound?,
            };
            if progress.covers(&bound.generations[place], &wanted) {
                return Ok(true);
            }
            let generation = &bound.generations[place];
            if haste == Haste::Some && !waiting.as_ref().is_some_and(|waiting| waiting.is_for(generation)) {
                waiting = Some(progress.wait_for(generation));
            }
            if now >= next_look {
                let reached = bound.look_after(asked, place, progress).await?;
                if reached.covers(&wanted) {
                    return Ok(true);
                }
                (asked, next_look) = (now, now + CHECK_EVERY);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let _ = tokio::time::timeout_at(next_look.min(deadline), ticks.changed()).await;
        }
    }

    /// What is read from now on stands on this.
    pub fn standing(&self) -> Standing {
        let progress = self.database.progress();
        let bound = self.bound();
        Standing {
            incarnation: progress.incarnation(),
            went_back: bound.went_back,
            replaced: bound.replaced,
            bindings: bound.bindings,
            changes: progress.changes(),
        }
    }

    /// How far `model` has come at least: as far as this process knows, or, where that is not beyond `known`, as the
    /// database says.
    ///
    /// # Errors
    /// As [`Reader::checkpoints`].
    pub async fn reached(&self, model: &ReadModel, known: &Positions) -> Result<Positions, StoreError> {
        let (progress, asked) = (self.database.progress(), Instant::now());
        let (bound, place) = self.generation(model, asked).await?;
        if let Some(reached) = progress.reached(&bound.generations[place]).filter(|reached| reached.covers(known)) {
            return Ok(reached);
        }
        bound.look_after(asked, place, progress).await
    }

    /// How far this process knows `model` to have come.
    pub fn known(&self, model: &ReadModel) -> Option<Positions> {
        let bound = self.bound();
        bound.place(model).and_then(|place| self.database.progress().reached(&bound.generations[place]))
    }

    /// Whether this process knows how far `model` has come, and that this is not beyond `positions`.
    pub fn is_within(&self, model: &ReadModel, positions: &Positions) -> bool {
        let bound = self.bound();
        let place = bound.place(model);
        place.is_some_and(|place| self.database.progress().is_within(&bound.generations[place], positions))
    }

    /// How many records of `model` are parked: what they say is in no row until an operator has dealt with them.
    ///
    /// # Errors
    /// As [`Reader::checkpoints`].
    pub async fn parked(&self, model: &ReadModel) -> Result<i64, StoreError> {
        let (bound, place) = self.generation(model, Instant::now()).await?;
        let schema = bound.generations[place].schema();
        let sql = format!("SELECT COUNT(*) FROM \"{schema}\".parked WHERE discarded_at IS NULL");
        let rows: Vec<(i64,)> = bound.fetch(sql.into(), &[]).await??;
        Ok(rows.first().map_or(0, |(count,)| *count))
    }

    /// Ticks when a generation was changed otherwise than by the log: when it came, went or was switched, or when an
    /// operator dealt with what is parked.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.database.progress().generation_ticks()
    }

    /// Checks that everything since `standing` was given stood on it: no crash has taken anything back meanwhile, and what
    /// was waited for was read from the generations that it was waited for in. One that was switched away from may have
    /// gone on for a moment, until those who work on it know, and the new one has not that yet; after a rollback even less.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was waited for has to be waited for again.
    pub fn stayed_on(&self, standing: &Standing) -> Result<(), StoreError> {
        let now = self.standing();
        if now.incarnation != standing.incarnation {
            return Err(StoreError::away("it was started again meanwhile"));
        }
        if now.went_back != standing.went_back {
            return Err(StoreError::away("a read model was rolled back meanwhile"));
        }
        if now.replaced != standing.replaced {
            return Err(StoreError::away("a read model was switched to another generation meanwhile"));
        }
        Ok(())
    }

    /// What `read` gives, which waits for something and then reads it, so that all of it [stood](Reader::stayed_on) on the
    /// same. It is done again, three times at the most, where something came between.
    ///
    /// # Errors
    /// What `read` says, and [`StoreError::Unavailable`] when something came between each time.
    pub async fn undisturbed<T, E, F>(&self, read: impl Fn() -> F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: Future<Output = Result<T, E>>,
    {
        let mut times = 1;
        loop {
            let standing = self.standing();
            // Boxed, lest the futures of those who call this nest deeper than the compiler looks.
            let found = Box::pin(read()).await;
            match self.stayed_on(&standing) {
                Ok(()) => return found,
                Err(_) if times < TIMES => times += 1,
                Err(error) => return found.and(Err(error.into())),
            }
        }
    }

    /// The connections that read the live generation of `model`, and its place among those that they read. Where none was
    /// there, it was looked for after `since`.
    async fn generation(&self, model: &ReadModel, since: Instant) -> Result<(Arc<Bound>, usize), StoreError> {
        let mut bound = self.bound();
        if bound.place(model).is_none() {
            self.slot.looks.after(since, async || self.rebind().await.map(drop)).await?;
            bound = self.bound();
        }
        let place = bound.place(model);
        place.map(|place| (bound, place)).ok_or_else(|| not_ready(model))
    }

    fn first_missing(&self, bound: &Bound) -> Option<StoreError> {
        self.models.iter().find(|model| bound.place(model).is_none()).map(not_ready)
    }

    fn bound(&self) -> Arc<Bound> {
        self.slot.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn rebind(&self) -> Result<Arc<Bound>, StoreError> {
        rebind(&self.slot, &self.database, &self.models).await
    }
}

impl Bound {
    fn place(&self, model: &ReadModel) -> Option<usize> {
        self.generations.iter().position(|generation| is_of(generation, model))
    }

    /// Whether one of its generations is newer than that of the same read model in `generations`.
    fn is_ahead_of(&self, generations: &[Generation]) -> bool {
        let is_older = |own: &Generation, other: &Generation| {
            own.projection == other.projection && own.version == other.version && own.number > other.number
        };
        self.generations.iter().any(|own| generations.iter().any(|other| is_older(own, other)))
    }

    /// The rows, or the error that a table is not there.
    async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Result<Vec<R>, StoreError>, StoreError> {
        let Some(readers) = &self.readers else {
            return Ok(Err(StoreError::refusal("no read model is there yet")));
        };
        match readers.fetch(sql, params).await {
            Ok(rows) => Ok(Ok(rows)),
            Err(StoreError::Refused(error)) if is_missing_table(&error) => Ok(Err(StoreError::Refused(error))),
            Err(error) => Err(error),
        }
    }

    /// How far the generation at `place` has come, as it was seen after `since`. Whoever looks tells everybody.
    async fn look_after(&self, since: Instant, place: usize, progress: &Progress) -> Result<Positions, StoreError> {
        let look = async || {
            let incarnation = progress.incarnation();
            let reached = self.checkpoints(place).await?;
            progress.note(self.generations[place].schema(), &reached, &incarnation);
            Ok(reached)
        };
        self.looks[place].after(since, look).await
    }

    async fn checkpoints(&self, place: usize) -> Result<Positions, StoreError> {
        let schema = self.generations[place].schema();
        let sql = format!("SELECT topic, partition, next_offset FROM \"{schema}\".checkpoints");
        let rows: Vec<(String, i64, i64)> = self.fetch(sql.into(), &[]).await?.map_err(StoreError::or_lost)?;
        positions(rows)
    }
}

fn is_of(generation: &Generation, model: &ReadModel) -> bool {
    generation.projection == *model.name && generation.version == i64::from(model.version)
}

fn not_ready(model: &ReadModel) -> StoreError {
    StoreError::NotReady(model.name.to_string())
}

/// Binds to the generations that are live now, if they are others than before.
async fn rebind(slot: &Slot, database: &Database, models: &[ReadModel]) -> Result<Arc<Bound>, StoreError> {
    let listed = database.generations(None).await?;
    let live = listed.iter().filter(|listed| listed.state == GenerationState::Live).map(|listed| &listed.generation);
    let generations: Vec<Generation> =
        models.iter().filter_map(|model| live.clone().find(|live| is_of(live, model)).cloned()).collect();
    let mut now = slot.now.write().unwrap_or_else(PoisonError::into_inner);
    if now.generations == generations {
        return Ok(now.clone());
    }
    let schemas: Vec<&str> = generations.iter().map(Generation::schema).collect();
    let readers = (!schemas.is_empty()).then(|| database.backend.readers(&schemas));
    // Queries under way keep the readers that they have.
    let went_back = now.went_back + u64::from(now.is_ahead_of(&generations));
    let replaced = now.replaced + u64::from(!now.generations.iter().all(|before| generations.contains(before)));
    let bindings = now.bindings + 1;
    let looks = generations.iter().map(|_| SharedLook::default()).collect();
    *now = Arc::new(Bound { generations, readers, went_back, replaced, bindings, looks });
    Ok(now.clone())
}

/// Follows the set of live generations until the reader is dropped.
async fn follow(slot: Weak<Slot>, database: Database, models: Arc<[ReadModel]>) {
    let mut changes = database.progress().generation_ticks();
    loop {
        // Told or not, the set is looked at.
        let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        let Some(slot) = slot.upgrade() else { return };
        if let Err(error) = rebind(&slot, &database, &models).await {
            tracing::debug!(%error, "the live generations could not be read");
        }
    }
}
