//! A log that is tied to a database: what reads and appends through it never meets another log.

mod recognition;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use balcony_event_log::{
    AppendError, BoxFuture, EventLog, LogError, Message, Position, Positions, Reader, Topic, TopicPartition,
};
use balcony_store::{Database, Founding, StoreError};
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::recognition::Unrecognised;
use self::recognition::{Known, NotRecognised};

/// The log of an installation, as the database remembers it.
///
/// Read models, checkpoints and tokens mean something in the log that they were made of and in no other. When an
/// installation is founded, the database notes the log's identity, its topics and how many partitions each has, and
/// from then on, for each partition, a record near its end. A log that is older, shorter or another one is recognised by
/// these; so is one whose topics were made anew while the installation runs. Appends and reads are refused then, until
/// the log is the right one again.
///
/// Partitions that a topic gets later stay empty: a key's records stay together in one partition.
pub struct BoundLog {
    inner: Arc<dyn EventLog>,
    database: Database,
    founding: Founding,
    names: Vec<Arc<str>>,
    /// What the log is recognised by. Held by whoever looks.
    known: Mutex<Known>,
    view: RwLock<Arc<View>>,
}

/// What the last look at a log has shown.
struct View {
    /// How far it reaches.
    seen: Positions,
    /// Why nothing may be appended or read now.
    foreign: Option<Arc<str>>,
}

/// Why a log cannot be tied to a database.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is another one than the database was used with.
    #[error(transparent)]
    Unrecognised(#[from] Unrecognised),
    /// It does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How often it is looked how far the log reaches.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the records are read again by which the log is recognised, and newer ones taken in their place.
const RECOGNISE_EVERY: Duration = Duration::from_secs(30);
/// What whoever asks for nothing in particular is told.
const FOREIGN: &str = "the log is not the one that this installation was made with";

impl BoundLog {
    /// Ties `log` to `database`: founds the installation when that was never done, and recognises the log otherwise. A
    /// database that was used by a version that did not found takes `log` for its own where it has everything that
    /// was read. Looks again every second, for as long as what this returns is there.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(log: Arc<dyn EventLog>, database: &Database) -> Result<Arc<Self>, BindError> {
        let names: Vec<Arc<str>> = log.topics().iter().map(|topic| topic.name.clone()).collect();
        let furthest = database.furthest().await?;
        check_names(database, &names).await?;
        let identity = log.identity().await?;
        let mut partitions: BTreeMap<Arc<str>, i32> = BTreeMap::new();
        for TopicPartition { topic, .. } in log.ends(&names).await?.partitions() {
            *partitions.entry(topic.clone()).or_default() += 1;
        }
        let is_used = furthest.into_iter().any(|(_, next)| next > 0);
        // What an earlier version has made goes by the log's own name.
        let id = if is_used { Uuid::new_v5(&Uuid::NAMESPACE_OID, identity.as_bytes()) } else { Uuid::now_v7() };
        let founding = database.found(&Founding { id, log: identity, partitions }).await?;
        check_names(database, &names).await?;
        let bound = Self::recognised(log, database, founding, &furthest).await?;
        bound.write_down(&mut *bound.known.lock().await).await?;
        tokio::spawn(watch(Arc::downgrade(&bound)));
        Ok(bound)
    }

    /// The same for whoever works beside the processes of an installation: founds nothing, looks once, and needs no
    /// database that takes writes. Where nothing is founded yet, `log` is given back as it is.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind_beside(log: Arc<dyn EventLog>, database: &Database) -> Result<Arc<dyn EventLog>, BindError> {
        let names: Vec<Arc<str>> = log.topics().iter().map(|topic| topic.name.clone()).collect();
        check_names(database, &names).await?;
        let Some(founding) = database.founding().await? else { return Ok(log) };
        Ok(Self::recognised(log, database, founding, &database.furthest().await?).await?)
    }

    async fn recognised(
        log: Arc<dyn EventLog>,
        database: &Database,
        founding: Founding,
        furthest: &Positions,
    ) -> Result<Arc<Self>, BindError> {
        log.keep_to(&founding.partitions);
        let names: Vec<Arc<str>> = log.topics().iter().map(|topic| topic.name.clone()).collect();
        let has_other_topics = names.len() != founding.partitions.len();
        // A program of another version may have more topics, or fewer, and then says otherwise what its log is.
        if !has_other_topics && log.identity().await? != founding.log {
            return Err(Unrecognised::Identity.into());
        }
        let mut known = Known::new(database.marks().await?, &names);
        let ends = known.recognise(log.as_ref(), furthest).await?;
        Ok(Arc::new(Self {
            inner: log,
            database: database.clone(),
            founding,
            names,
            known: Mutex::new(known),
            view: RwLock::new(Arc::new(View { seen: ends, foreign: None })),
        }))
    }

    /// What the installation was founded with.
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Looks whether the log is still the one that it was: at how far it reaches, and, when that is not beyond all doubt, at
    /// the records by which it is recognised.
    ///
    /// # Errors
    /// [`LogError::Misconfigured`] when it is another one, [`LogError::Unavailable`] when it does not say.
    pub async fn look(&self) -> Result<(), LogError> {
        let mut known = self.known.lock().await;
        let looked = self.try_look(&mut known).await;
        match looked {
            Ok(ends) => {
                self.turned(Some(ends), None);
            }
            Err(NotRecognised::Log(LogError::Unavailable(reason))) => return Err(LogError::Unavailable(reason)),
            Err(NotRecognised::Log(error)) => self.turned(None, Some(error.to_string())),
            Err(NotRecognised::Unrecognised(error)) => self.turned(None, Some(error.to_string())),
        }
        self.view().check()?;
        if let Err(error) = self.write_down(&mut known).await {
            tracing::debug!(%error, "what the log is recognised by is not written down");
        }
        Ok(())
    }

    /// Writes down by what the log is recognised, where that is new.
    async fn write_down(&self, known: &mut Known) -> Result<(), StoreError> {
        if !known.news().is_empty() {
            self.database.mark(known.news()).await?;
            known.take_news();
        }
        Ok(())
    }

    async fn try_look(&self, known: &mut Known) -> Result<Positions, NotRecognised> {
        let ends = self.inner.ends(&self.names).await?;
        let view = self.view();
        let is_sure = ends.covers(&view.seen)
            && view.foreign.is_none()
            && known.has_marks_for(&ends)
            && known.recognised_at.elapsed() < RECOGNISE_EVERY;
        if is_sure {
            return Ok(ends);
        }
        // Others may have written down what was appended since this process looked last.
        match self.database.marks().await {
            Ok(marks) => known.learn(marks),
            Err(error) => tracing::debug!(%error, "what others recognise the log by is not known"),
        }
        known.recognise(self.inner.as_ref(), &Positions::new()).await
    }

    fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the log reaches beyond `position`.
    fn reaches(&self, position: &Position) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut seen = view.seen.clone();
        seen.advance(&position.partition, position.offset + 1);
        *view = Arc::new(View { seen, foreign: view.foreign.clone() });
    }

    /// Notes how far the log reaches, if that was seen, and why it is another one, if it is.
    fn turned(&self, seen: Option<Positions>, why: Option<String>) {
        let before = self.view();
        match (&before.foreign, &why) {
            (None, Some(why)) => tracing::error!(why, "{FOREIGN}: nothing is appended or read"),
            (Some(_), None) => tracing::info!("the log is the one that this installation was made with again"),
            _ => {}
        }
        let seen = seen.unwrap_or_else(|| before.seen.clone());
        let foreign = why.map(|why| format!("{FOREIGN}: {why}").into());
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(View { seen, foreign });
    }
}

impl View {
    fn check(&self) -> Result<(), LogError> {
        self.foreign.as_ref().map_or(Ok(()), |why| Err(LogError::Misconfigured(why.to_string())))
    }
}

/// Looks until the log is dropped.
async fn watch(log: Weak<BoundLog>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(log) = log.upgrade() else { return };
        if let Err(error) = log.look().await {
            tracing::debug!(%error, "whether the log is still the same is not known");
        }
    }
}

/// Refuses names of topics of which the database knows none, when it knows others.
pub(crate) async fn check_names(database: &Database, names: &[Arc<str>]) -> Result<(), BindError> {
    let mut known: Vec<Arc<str>> = match database.founding().await? {
        Some(founding) => founding.partitions.into_keys().collect(),
        None => database.furthest().await?.partitions().map(|partition| partition.topic.clone()).collect(),
    };
    known.dedup();
    if known.is_empty() || known.iter().any(|known| names.contains(known)) {
        return Ok(());
    }
    Err(Unrecognised::Topics { known, given: names.to_vec() }.into())
}

impl From<NotRecognised> for BindError {
    fn from(error: NotRecognised) -> Self {
        match error {
            NotRecognised::Unrecognised(error) => error.into(),
            NotRecognised::Log(error) => error.into(),
        }
    }
}

impl EventLog for BoundLog {
    fn topics(&self) -> &[Topic] {
        self.inner.topics()
    }

    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            let refused = |error: LogError| AppendError::Foreign(error.to_string());
            let view = self.view();
            view.check().map_err(refused)?;
            match self.inner.append(topic, message).await {
                // It stands where there was another record before.
                Ok(position) if position.offset < view.seen.next_offset(&position.partition) => match self.look().await
                {
                    Ok(()) => Ok(position),
                    Err(LogError::Unavailable(reason)) => Err(AppendError::Unknown(reason)),
                    Err(error) => Err(refused(error)),
                },
                // The first here since the partition was empty: whatever stands there next time before it is not of this log.
                Ok(position) if view.seen.next_offset(&position.partition) == 0 => {
                    self.reaches(&position);
                    Ok(position)
                }
                Err(AppendError::UnknownTopic { topic }) => match self.look().await {
                    Ok(()) | Err(LogError::Unavailable(_)) => Err(AppendError::UnknownTopic { topic }),
                    Err(error) => Err(refused(error)),
                },
                done => done,
            }
        })
    }

    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            self.view().check()?;
            self.inner.starts(topics).await
        })
    }

    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            let view = self.view();
            view.check()?;
            let ends = self.inner.ends(topics).await?;
            let is_short = |(partition, had): (&TopicPartition, i64)| {
                topics.contains(&partition.topic) && ends.next_offset(partition) < had
            };
            if view.seen.into_iter().any(is_short) {
                self.look().await?;
            }
            Ok(ends)
        })
    }

    fn read(&self, from: Positions) -> Reader {
        match self.view().check() {
            Ok(()) => self.inner.read(from),
            Err(error) => Reader::refused(error),
        }
    }

    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        match self.view().check() {
            Ok(()) => self.inner.join(group, topics),
            Err(error) => Reader::refused(error),
        }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.inner.identity()
    }

    fn keep_to(&self, _: &BTreeMap<Arc<str>, i32>) {}

    fn shares_offsets(&self) -> bool {
        self.inner.shares_offsets()
    }

    fn counts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Option<i64>>, LogError>> {
        self.inner.counts(topics)
    }

    fn ailments(&self) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        self.inner.ailments()
    }

    fn unused(&self) -> BoxFuture<'_, Result<Positions, LogError>> {
        self.inner.unused()
    }
}
