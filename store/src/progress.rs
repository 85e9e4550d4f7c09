use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use balcony_event_log::Positions;
use tokio::sync::{Notify, watch};

use crate::Generation;

/// How far each generation has come, told between the processes as it happens: in memory within one process, by
/// `NOTIFY` on PostgreSQL. What is known here may lag behind the checkpoints and is forgotten when the database goes
/// away, since a crash may take back its last transactions; it never runs ahead of what was committed.
#[derive(Debug)]
pub struct Progress {
    /// By the schema of the generation.
    known: Mutex<HashMap<String, Positions>>,
    /// Ticks with every change of `known`.
    ticks: watch::Sender<u64>,
    /// Ticks when a generation came, went or was switched.
    generations: watch::Sender<u64>,
    /// What is still to be told to other processes; `None` where there are none.
    outbox: Option<Outbox>,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<News>,
    comes: Notify,
}

/// What is to be told to other processes.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// How far generations have come, by their schemas.
    pub(crate) reached: HashMap<String, Positions>,
    /// Whether the set of generations has changed.
    pub(crate) generations_changed: bool,
}

impl Progress {
    /// Nothing known; `shared` with other processes or not.
    pub(crate) fn new(shared: bool) -> Self {
        Self {
            known: Mutex::default(),
            ticks: watch::Sender::new(0),
            generations: watch::Sender::new(0),
            outbox: shared.then(Outbox::default),
        }
    }

    /// Makes known to every process that `generation` has committed everything below `reached`.
    pub fn announce(&self, generation: &Generation, reached: &Positions) {
        self.tell(|news| news.reached.entry(generation.schema.clone()).or_default().merge(reached));
        self.note(&generation.schema, reached);
    }

    /// Makes known that the set of generations has changed.
    pub(crate) fn generations_changed(&self) {
        self.note_generations();
        self.tell(|news| news.generations_changed = true);
    }

    /// Whether `generation` is known to have committed everything below `wanted`.
    pub fn covers(&self, generation: &Generation, wanted: &Positions) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&generation.schema).is_some_and(|positions| positions.covers(wanted))
    }

    /// Notes how far the generation in `schema` has come.
    pub(crate) fn note(&self, schema: &str, reached: &Positions) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(schema) {
            Some(positions) => positions.merge(reached),
            None => {
                known.insert(schema.to_owned(), reached.clone());
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
}

/// What the connections to other processes do.
#[cfg(feature = "postgres")]
impl Progress {
    /// Waits until there is something to tell, and takes it; never without other processes.
    pub(crate) async fn news(&self) -> News {
        let Some(outbox) = &self.outbox else { return std::future::pending().await };
        outbox.comes.notified().await;
        std::mem::take(&mut *outbox.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ticks.send_modify(|tick| *tick += 1);
        self.note_generations();
    }
}
