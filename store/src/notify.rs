use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use sqlx::postgres::PgListener;
use sqlx::{Executor as _, PgPool};

use crate::progress::Incarnation;
use crate::{Namespace, Progress};

/// The channels of one namespace.
#[derive(Debug)]
struct Channels {
    progress: String,
    generations: String,
}

/// How long to wait before trying the database again.
const PAUSE: Duration = Duration::from_millis(500);
/// After how long a silence it is asked whether the database is still there.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of one message; PostgreSQL takes fewer than 8,000.
const MOST_BYTES: usize = 7_900;

/// Shares progress with the other processes of the namespace by `NOTIFY`, for as long as this one runs: tells through
/// `pool`, and hears through what `listening` gives, which nobody else uses.
pub(crate) fn start(
    progress: &Arc<Progress>,
    pool: &PgPool,
    listening: impl Fn() -> PgPool + Send + 'static,
    namespace: &Namespace,
) {
    let channels = Arc::new(Channels {
        progress: format!("{namespace}_progress"),
        generations: format!("{namespace}_generations"),
    });
    tokio::spawn(listen(progress.clone(), listening, channels.clone()));
    tokio::spawn(tell(progress.clone(), pool.clone(), channels));
}

/// Hears what other processes tell.
async fn listen(progress: Arc<Progress>, listening: impl Fn() -> PgPool + Send, channels: Arc<Channels>) {
    loop {
        // A connection that is given up because nobody answers may hold its place for long: the next has its own.
        if let Err(error) = hear(&progress, &listening(), &channels).await {
            tracing::debug!(%error, "the connection that hears of progress was lost");
        }
        progress.forget();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(progress: &Progress, pool: &PgPool, channels: &Channels) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    // What is known is forgotten first.
    listener.eager_reconnect(false);
    listener.listen_all([channels.progress.as_str(), &channels.generations]).await?;
    loop {
        let notification = match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(received) => received?,
            Err(_) => {
                let asked = tokio::time::timeout(PATIENCE, listener.execute("SELECT 1")).await;
                asked.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
                continue;
            }
        };
        // A lost connection.
        let Some(notification) = notification else { return Ok(()) };
        if notification.channel() == channels.generations {
            progress.note_generations();
        } else if let Some((schema, incarnation, reached)) = parse(notification.payload()) {
            progress.note(schema, &reached, &incarnation);
        }
    }
}

/// Tells other processes what was announced here. While one message is under way, what comes in the meantime is put
/// together into the next.
async fn tell(progress: Arc<Progress>, pool: PgPool, channels: Arc<Channels>) {
    loop {
        let news = progress.news().await;
        let generations = news.generations_changed.then(|| (&channels.generations, String::new()));
        let reached = news.reached.iter().flat_map(|((schema, incarnation), reached)| {
            let payloads = incarnation.id().map(|id| format(schema, id, reached));
            payloads.unwrap_or_default().into_iter().map(|payload| (&channels.progress, payload))
        });
        for (channel, payload) in generations.into_iter().chain(reached) {
            let told = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload).execute(&pool).await;
            if let Err(error) = told {
                // Nobody waits for ever on a message: whoever waits also looks at the checkpoints now and then.
                tracing::debug!(%error, "progress could not be told");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A line for the schema and the incarnation, and one for each partition; in as many messages as it takes.
fn format(schema: &str, incarnation: &str, reached: &Positions) -> Vec<String> {
    let head = format!("{schema}\t{incarnation}");
    let mut payloads = Vec::new();
    let mut payload = head.clone();
    for (partition, next_offset) in reached {
        let line = format!("\n{}\t{}\t{next_offset}", partition.topic, partition.partition);
        if payload.len() + line.len() > MOST_BYTES {
            payloads.push(std::mem::replace(&mut payload, head.clone()));
        }
        payload.push_str(&line);
    }
    payloads.push(payload);
    payloads
}

fn parse(payload: &str) -> Option<(&str, Incarnation, Positions)> {
    let mut lines = payload.lines();
    let (schema, incarnation) = lines.next()?.split_once('\t')?;
    let mut reached = Positions::new();
    for line in lines {
        let mut fields = line.split('\t');
        let topic = fields.next()?;
        let partition = fields.next()?.parse().ok()?;
        reached.set(TopicPartition::new(topic, partition), fields.next()?.parse().ok()?);
    }
    Some((schema, Incarnation::of(incarnation), reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let mut reached = Positions::new();
        reached.set(TopicPartition::new("events", 0), 12);
        reached.set(TopicPartition::new("events", 5), 0);
        let payloads = format("comments_3", "1/a", &reached);
        assert_eq!(payloads.len(), 1);
        assert_eq!(parse(&payloads[0]), Some(("comments_3", Incarnation::of("1/a"), reached)));
        assert_eq!(parse("comments_3\t1/a\nevents\tx"), None);
    }

    #[test]
    fn of_many_partitions_is_told_in_many_messages() {
        let topic = "t".repeat(249);
        let reached: Positions =
            (0..100).map(|partition| (TopicPartition::new(topic.as_str(), partition), i64::MAX)).collect();
        let payloads = format("comments_3", "1/a", &reached);
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() < 8_000));
        let mut heard = Positions::new();
        for payload in &payloads {
            let (schema, incarnation, part) = parse(payload).expect("a message");
            assert_eq!((schema, incarnation), ("comments_3", Incarnation::of("1/a")));
            heard.merge(&part);
        }
        assert_eq!(heard, reached);
    }
}
