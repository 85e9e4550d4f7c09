use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};

use crate::Generation;
use crate::database::Backend;

/// How far each generation has come, told between the processes as it happens: in memory within one process, by
/// `NOTIFY` on PostgreSQL. What is known here may lag behind the checkpoints and is forgotten when the database goes
/// away, since a crash may take back its last transactions; it never runs ahead of what was committed.
#[derive(Debug)]
pub struct Progress {
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
    positions: Mutex<HashMap<String, Positions>>,
    waiting: Notify,
}

const PROGRESS_CHANNEL: &str = "balcony_progress";
const GENERATIONS_CHANNEL: &str = "balcony_generations";
/// How long to wait before trying the database again.
const PAUSE: Duration = Duration::from_millis(500);

impl Progress {
    pub(crate) fn start(backend: &Backend) -> Arc<Self> {
        let outbox = matches!(backend, Backend::Postgres { .. }).then(Outbox::default);
        let progress = Arc::new(Self {
            known: Mutex::default(),
            ticks: watch::Sender::new(0),
            generations: watch::Sender::new(0),
            outbox,
        });
        if let Backend::Postgres { store, .. } = backend {
            tokio::spawn(listen(progress.clone(), store.clone()));
            tokio::spawn(tell(progress.clone(), store.clone()));
        }
        progress
    }

    /// Makes known to every process that `generation` has committed everything below `reached`.
    pub fn announce(&self, generation: &Generation, reached: &Positions) {
        let namespace = generation.namespace();
        if let Some(outbox) = &self.outbox {
            let mut positions = outbox.positions.lock().unwrap_or_else(PoisonError::into_inner);
            positions.entry(namespace.clone()).or_default().merge(reached);
            outbox.waiting.notify_one();
        }
        self.note(&namespace, reached);
    }

    /// Makes known that the set of generations has changed.
    pub(crate) fn generations_changed(&self) {
        self.generations.send_modify(|tick| *tick += 1);
        if let Some(outbox) = &self.outbox {
            let mut positions = outbox.positions.lock().unwrap_or_else(PoisonError::into_inner);
            positions.entry(String::new()).or_default();
            outbox.waiting.notify_one();
        }
    }

    /// Whether `generation` is known to have committed everything below `wanted`.
    pub fn covers(&self, generation: &Generation, wanted: &Positions) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&generation.namespace()).is_some_and(|positions| positions.covers(wanted))
    }

    pub(crate) fn note(&self, namespace: &str, reached: &Positions) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(namespace.to_owned()).or_default().merge(reached);
        drop(known);
        self.ticks.send_modify(|tick| *tick += 1);
    }

    /// Changes with every piece of progress that becomes known.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Changes when a generation came, went or changed its state.
    pub fn generation_ticks(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ticks.send_modify(|tick| *tick += 1);
        self.generations.send_modify(|tick| *tick += 1);
    }
}

/// Hears what other processes tell, for as long as this one runs.
async fn listen(progress: Arc<Progress>, pool: PgPool) {
    loop {
        if let Err(error) = hear(&progress, &pool).await {
            tracing::debug!(%error, "the connection that hears of progress was lost");
        }
        progress.forget();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(progress: &Progress, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([PROGRESS_CHANNEL, GENERATIONS_CHANNEL]).await?;
    // `None` is a lost connection.
    while let Some(notification) = listener.try_recv().await? {
        if notification.channel() == GENERATIONS_CHANNEL {
            progress.generations.send_modify(|tick| *tick += 1);
        } else if let Some((namespace, reached)) = parse(notification.payload()) {
            progress.note(namespace, &reached);
        }
    }
    Ok(())
}

/// Tells other processes what was announced here. While one message is under way, what comes in the meantime is put
/// together into the next.
async fn tell(progress: Arc<Progress>, pool: PgPool) {
    let Some(outbox) = &progress.outbox else { return };
    loop {
        outbox.waiting.notified().await;
        let waiting = std::mem::take(&mut *outbox.positions.lock().unwrap_or_else(PoisonError::into_inner));
        for (namespace, reached) in waiting {
            let (channel, payload) = match namespace.as_str() {
                "" => (GENERATIONS_CHANNEL, String::new()),
                namespace => (PROGRESS_CHANNEL, format(namespace, &reached)),
            };
            let told = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload).execute(&pool).await;
            if let Err(error) = told {
                // Nobody waits for ever on a message: whoever waits also looks at the checkpoints now and then.
                tracing::debug!(%error, "progress could not be told");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A line for the namespace and one for each partition.
fn format(namespace: &str, reached: &Positions) -> String {
    use std::fmt::Write as _;

    let mut payload = namespace.to_owned();
    for (partition, next_offset) in reached {
        write!(payload, "\n{}\t{}\t{next_offset}", partition.topic, partition.partition)
            .expect("writing to a String does not fail");
    }
    payload
}

fn parse(payload: &str) -> Option<(&str, Positions)> {
    let mut lines = payload.lines();
    let namespace = lines.next()?;
    let mut reached = Positions::new();
    for line in lines {
        let mut fields = line.split('\t');
        let topic = fields.next()?;
        let partition = fields.next()?.parse().ok()?;
        reached.set(TopicPartition::new(topic, partition), fields.next()?.parse().ok()?);
    }
    Some((namespace, reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let mut reached = Positions::new();
        reached.set(TopicPartition::new("balcony.events", 0), 12);
        reached.set(TopicPartition::new("balcony.events", 5), 0);
        assert_eq!(parse(&format("comments_3", &reached)), Some(("comments_3", reached)));
        assert_eq!(parse("comments_3\nbalcony.events\tx"), None);
    }
}
