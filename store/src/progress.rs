use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balcony_event_log::Positions;
use tokio::sync::{Notify, watch};

use crate::Generation;
use crate::demand::{Demand, Waiting};

/// How far each generation has come, told between the processes as it happens: in memory within one process, by
/// `NOTIFY` on PostgreSQL. What is known here may lag behind the checkpoints. It never runs ahead of what was committed
/// in the [`Incarnation`] that it is from, and is forgotten when another one is met, since a crash may take back the
/// last transactions.
#[derive(Debug)]
pub struct Progress {
    known: Mutex<Known>,
    /// Ticks with every change of `known`.
    ticks: watch::Sender<u64>,
    /// Ticks when a generation came, went or was switched.
    generations: watch::Sender<u64>,
    /// What is still to be told to other processes; `None` where there are none.
    outbox: Option<Outbox>,
    /// Who waits in this process.
    demand: Demand,
}

/// A life of the database: until a crash, or a move to another machine, that may have taken back what was committed
/// last. Two are equal when nothing was taken back between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incarnation(Option<Arc<str>>);

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    /// Those that have ended, the last of them.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a SQLite file has one incarnation"))]
    ended: Vec<Incarnation>,
    /// By the schema of the generation, committed in `incarnation`.
    reached: HashMap<String, Positions>,
}

/// How many incarnations that have ended are remembered. A connection that was opened in one of them tells of it for
/// moments, not for as long as that.
#[cfg(feature = "postgres")]
const MOST_ENDED: usize = 16;

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<News>,
    comes: Notify,
}

/// What is to be told to other processes.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// How far generations have come, by their schemas and the incarnations in which that was committed.
    pub(crate) reached: HashMap<(String, Incarnation), Positions>,
    /// Whether the set of generations has changed.
    pub(crate) generations_changed: bool,
}

impl Incarnation {
    /// That of a database which is only there for as long as this process.
    const OWN: &str = "own";

    pub(crate) fn of(id: &str) -> Self {
        Self(Some(id.into()))
    }

    /// What is committed in it cannot be told from what is committed in others.
    pub(crate) fn unknown() -> Self {
        Self(None)
    }

    /// Its id in the database, if it is known.
    #[cfg(feature = "postgres")]
    pub(crate) fn id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Progress {
    /// Nothing known; `shared` with other processes or not.
    pub(crate) fn new(shared: bool) -> Self {
        let incarnation = if shared { Incarnation::unknown() } else { Incarnation::of(Incarnation::OWN) };
        Self {
            known: Mutex::new(Known { incarnation, ended: Vec::new(), reached: HashMap::new() }),
            ticks: watch::Sender::new(0),
            generations: watch::Sender::new(0),
            outbox: shared.then(Outbox::default),
            demand: Demand::default(),
        }
    }

    /// The incarnation of the database that was met last. What is committed in a transaction that is begun from now on
    /// is committed in this one or a later one.
    pub fn incarnation(&self) -> Incarnation {
        self.known().incarnation.clone()
    }

    /// Makes known to every process that `generation` has committed everything below `reached`, in a transaction that was
    /// begun when `incarnation` had been met last.
    pub fn announce(&self, generation: &Generation, reached: &Positions, incarnation: &Incarnation) {
        self.tell(|news| {
            let key = (generation.schema.clone(), incarnation.clone());
            news.reached.entry(key).or_default().merge(reached);
        });
        self.note(&generation.schema, reached, incarnation);
    }

    /// Makes known that the set of generations has changed, or what is parked in one of them.
    pub fn generations_changed(&self) {
        self.note_generations();
        self.tell(|news| news.generations_changed = true);
    }

    /// Whether `generation` is known to have committed everything below `wanted`.
    pub fn covers(&self, generation: &Generation, wanted: &Positions) -> bool {
        self.known().reached.get(&generation.schema).is_some_and(|positions| positions.covers(wanted))
    }

    /// How far `generation` is known to have come.
    pub(crate) fn reached(&self, generation: &Generation) -> Option<Positions> {
        self.known().reached.get(&generation.schema).cloned()
    }

    /// Whether it is known how far `generation` has come, and that this is not beyond `positions`.
    pub(crate) fn is_within(&self, generation: &Generation, positions: &Positions) -> bool {
        self.known().reached.get(&generation.schema).is_some_and(|reached| positions.covers(reached))
    }

    /// How often the set of generations has changed, or one of them otherwise than by the log.
    pub(crate) fn changes(&self) -> u64 {
        *self.generations.borrow()
    }

    /// Says that somebody waits for `generation` to come further, until what is returned is dropped: whoever brings it on
    /// in this process then hurries.
    pub fn wait_for(&self, generation: &Generation) -> Waiting<'_> {
        self.demand.wait_for(generation)
    }

    /// Waits until somebody waits for `generation`, as far as this process knows.
    pub async fn is_wanted(&self, generation: &Generation) {
        self.demand.is_for(generation).await;
    }

    /// Whether everybody who may wait is in this process.
    pub fn knows_who_waits(&self) -> bool {
        self.outbox.is_none()
    }

    /// Notes how far the generation in `schema` has come in `incarnation`. What is of another one is no news.
    pub(crate) fn note(&self, schema: &str, reached: &Positions, incarnation: &Incarnation) {
        let mut known = self.known();
        if known.incarnation != *incarnation || incarnation.0.is_none() {
            return;
        }
        match known.reached.get_mut(schema) {
            Some(positions) => positions.merge(reached),
            None => {
                known.reached.insert(schema.to_owned(), reached.clone());
            }
        }
        drop(known);
        self.ticks.send_modify(|tick| *tick += 1);
    }

    /// Notes that the set of generations has changed.
    pub(crate) fn note_generations(&self) {
        self.generations.send_modify(|tick| *tick += 1);
    }

    /// Changes with every piece of progress that becomes known.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Changes when a generation came, went or changed its state.
    pub fn generation_ticks(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn tell(&self, add: impl FnOnce(&mut News)) {
        if let Some(outbox) = &self.outbox {
            add(&mut outbox.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            outbox.comes.notify_one();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connections to a database that others share do.
#[cfg(feature = "postgres")]
impl Progress {
    /// Waits until there is something to tell, and takes it; never without other processes.
    pub(crate) async fn news(&self) -> News {
        let Some(outbox) = &self.outbox else { return std::future::pending().await };
        outbox.comes.notified().await;
        std::mem::take(&mut *outbox.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes in which incarnation a connection was opened, before anything is done with it. In another one than the last,
    /// all that was known is forgotten.
    pub(crate) fn meet(&self, incarnation: Incarnation) {
        let mut known = self.known();
        if known.incarnation == incarnation || known.ended.contains(&incarnation) {
            return;
        }
        known.reached.clear();
        let ended = std::mem::replace(&mut known.incarnation, incarnation);
        // One that is unknown may be the same.
        if ended.0.is_some() && known.incarnation.0.is_some() {
            known.ended.push(ended);
            let forgotten = known.ended.len().saturating_sub(MOST_ENDED);
            known.ended.drain(..forgotten);
        }
        drop(known);
        self.ticks.send_modify(|tick| *tick += 1);
        self.note_generations();
    }

    /// What was known is not known any more.
    pub(crate) fn forget(&self) {
        self.known().reached.clear();
        self.ticks.send_modify(|tick| *tick += 1);
        self.note_generations();
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use balcony_event_log::TopicPartition;

    use super::*;

    #[test]
    fn nothing_is_known_of_an_incarnation_that_has_ended() {
        let progress = Progress::new(true);
        let generation =
            Generation { projection: "things".into(), number: 1, version: 1, schema: "things_1".to_owned() };
        let reached: Positions = [(TopicPartition::new("events", 0), 5)].into_iter().collect();
        let covers = || progress.covers(&generation, &reached);
        progress.announce(&generation, &reached, &progress.incarnation());
        assert!(!covers(), "what is not known to be of this life is not believed");

        let (first, second) = (Incarnation::of("first"), Incarnation::of("second"));
        progress.meet(first.clone());
        progress.announce(&generation, &reached, &first);
        assert!(covers());
        progress.meet(first.clone());
        assert!(covers(), "another connection in the same life changes nothing");

        progress.meet(second.clone());
        assert!(!covers(), "a crash may have taken it back");
        progress.note(generation.schema(), &reached, &first);
        assert!(!covers(), "old news are none");
        progress.meet(first);
        assert_eq!(progress.incarnation(), second, "a connection that was opened before is late");
        progress.note(generation.schema(), &reached, &second);
        assert!(covers());
    }
}
