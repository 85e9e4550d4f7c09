use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use crate::{Namespace, Progress};

/// The channels of one namespace.
#[derive(Debug)]
struct Channels {
    progress: String,
    generations: String,
}

/// How long to wait before trying the database again.
const PAUSE: Duration = Duration::from_millis(500);

/// Shares progress with the other processes of the namespace by `NOTIFY`, for as long as this one runs.
pub(crate) fn start(progress: &Arc<Progress>, pool: &PgPool, namespace: &Namespace) {
    let channels = Arc::new(Channels {
        progress: format!("{namespace}_progress"),
        generations: format!("{namespace}_generations"),
    });
    tokio::spawn(listen(progress.clone(), pool.clone(), channels.clone()));
    tokio::spawn(tell(progress.clone(), pool.clone(), channels));
}

/// Hears what other processes tell.
async fn listen(progress: Arc<Progress>, pool: PgPool, channels: Arc<Channels>) {
    loop {
        if let Err(error) = hear(&progress, &pool, &channels).await {
            tracing::debug!(%error, "the connection that hears of progress was lost");
        }
        progress.forget();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(progress: &Progress, pool: &PgPool, channels: &Channels) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([channels.progress.as_str(), &channels.generations]).await?;
    // `None` is a lost connection.
    while let Some(notification) = listener.try_recv().await? {
        if notification.channel() == channels.generations {
            progress.note_generations();
        } else if let Some((schema, reached)) = parse(notification.payload()) {
            progress.note(schema, &reached);
        }
    }
    Ok(())
}

/// Tells other processes what was announced here. While one message is under way, what comes in the meantime is put
/// together into the next.
async fn tell(progress: Arc<Progress>, pool: PgPool, channels: Arc<Channels>) {
    loop {
        let news = progress.news().await;
        let generations = news.generations_changed.then(|| (&channels.generations, String::new()));
        let reached = news.reached.iter().map(|(schema, reached)| (&channels.progress, format(schema, reached)));
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

/// A line for the schema and one for each partition.
fn format(schema: &str, reached: &Positions) -> String {
    use std::fmt::Write as _;

    let mut payload = schema.to_owned();
    for (partition, next_offset) in reached {
        write!(payload, "\n{}\t{}\t{next_offset}", partition.topic, partition.partition)
            .expect("writing to a String does not fail");
    }
    payload
}

fn parse(payload: &str) -> Option<(&str, Positions)> {
    let mut lines = payload.lines();
    let schema = lines.next()?;
    let mut reached = Positions::new();
    for line in lines {
        let mut fields = line.split('\t');
        let topic = fields.next()?;
        let partition = fields.next()?.parse().ok()?;
        reached.set(TopicPartition::new(topic, partition), fields.next()?.parse().ok()?);
    }
    Some((schema, reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let mut reached = Positions::new();
        reached.set(TopicPartition::new("events", 0), 12);
        reached.set(TopicPartition::new("events", 5), 0);
        assert_eq!(parse(&format("comments_3", &reached)), Some(("comments_3", reached)));
        assert_eq!(parse("comments_3\nevents\tx"), None);
    }
}
