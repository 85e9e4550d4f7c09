//! Read models that are asked what the log has already, before something is done that must not be done twice.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use balcony_event_log::{AppendError, EventLog, Message, Record};
use balcony_projector::{Decode, Projection, Received};
use balcony_store::{ReadModel, Reader, Row, StoreError, Tx, Uuid, Value};
use tokio::time::{Instant, sleep};

/// The log, and read models of it.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) reader: Reader,
}

/// Remembers what frontiers have announced and sources have copied.
pub(crate) struct Announced(pub(crate) ReadModel);

/// What a record says of what it announces.
pub(crate) struct Announcement {
    /// A file, a table, a partition of another log.
    pub(crate) thing: Uuid,
    /// A state of the file or table, or the offset of a record.
    pub(crate) version: i64,
}

const TABLES: &str = "
CREATE TABLE announced (thing UUID NOT NULL, version BIGINT NOT NULL, PRIMARY KEY (thing, version));";
const THING: &str = "ce_hippothing";
const VERSION: &str = "ce_hippoversion";
/// How long a read model may take to come to the log's end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before an append is tried again.
const PAUSE: Duration = Duration::from_secs(1);

impl Memory {
    /// The rows of a query on `model`, which has everything that was in the log when this was asked.
    pub(crate) async fn fetch<R: Row>(
        &self,
        model: &str,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> anyhow::Result<Vec<R>> {
        let model = self.reader.models().iter().find(|one| &*one.name == model).expect("it reads all models of hippo");
        let ends = self.log.ends(&model.topics).await?;
        let is_there = self.reader.wait_for(model, &ends, Instant::now() + PATIENCE).await?;
        ensure!(is_there, "the read model {} is behind the log", model.name);
        Ok(self.reader.fetch(sql, params).await?)
    }

    /// Appends what announces something, under an id that is the same whenever it is appended; waits while the log is
    /// away.
    pub(crate) async fn announce(&self, topic: &str, about: &Announcement, mut message: Message) -> anyhow::Result<()> {
        if message.headers.get("ce_id").is_none() {
            let id = Uuid::new_v5(&about.thing, &about.version.to_be_bytes());
            message.headers.push("ce_id", id.to_string().as_bytes());
        }
        message.headers.push(THING, about.thing.to_string().as_bytes());
        message.headers.push(VERSION, about.version.to_string().as_bytes());
        loop {
            match self.log.append(topic, message.clone()).await {
                Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_))) => {
                    tracing::warn!(topic, %error, "an announcement waits for the log");
                    sleep(PAUSE).await;
                }
                appended => return Ok(appended.map(drop)?),
            }
        }
    }
}

impl Announced {
    /// The read model of what fills `topics`.
    pub(crate) fn model(topics: Vec<Arc<str>>) -> ReadModel {
        ReadModel::new("announced", 1, topics, TABLES)
    }
}

impl Decode for Announcement {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let header =
            |name| record.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let thing = header(THING).parse().map_err(|error| format!("{THING}: {error}"))?;
        let version = header(VERSION).parse().map_err(|error| format!("{VERSION}: {error}"))?;
        Ok(Some(Self { thing, version }))
    }
}

impl Projection for Announced {
    type Event = Announcement;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    /// A step may publish to the same topic.
    fn wants(&self, record: &Record) -> bool {
        record.headers.get(THING).is_some()
    }

    async fn apply(&self, all: &[Received<Announcement>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 2]> = all.iter().map(|one| [one.thing.into(), one.version.into()]).collect();
        tx.insert_new("announced", &["thing", "version"], ["thing", "version"], &rows).await.map(drop)
    }
}
