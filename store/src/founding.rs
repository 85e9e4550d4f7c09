use std::collections::BTreeMap;
use std::sync::Arc;

use balcony_event_log::{Position, Positions};
use uuid::Uuid;

use crate::backend::Backend;
use crate::checkpoints::topic_partition;
use crate::listing::list;
use crate::{Database, StoreError, Tx};

/// What an installation was founded with: the log that its read models are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// What the installation is known by.
    pub id: Uuid,
    /// What its log says that it is.
    pub log: String,
    /// The log's topics, and how many partitions each had.
    pub partitions: BTreeMap<Arc<str>, i32>,
}

/// A record by which a log is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where it stands.
    pub position: Position,
    /// A digest of everything that it says.
    pub digest: Uuid,
}

impl Database {
    /// What the installation was founded with; `None` before it was.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn founding(&self) -> Result<Option<Founding>, StoreError> {
        founding(&mut self.look().await?).await
    }

    /// Founds the installation, unless that was done before, and gives what it was founded with. Topics that it has not
    /// had are added with their partitions, and the log's name for itself then becomes the new one. Several processes may
    /// do so at once: the first counts.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn found(&self, new: &Founding) -> Result<Founding, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        let before = founding(&mut tx).await?;
        if let Some(before) = before
            && new.partitions.keys().all(|topic| before.partitions.contains_key(topic))
        {
            return Ok(before);
        }
        tx.execute(
            "INSERT INTO installation (only_row, id, log) VALUES (1, $1, $2)
             ON CONFLICT (only_row) DO UPDATE SET log = excluded.log",
            &[new.id.into(), new.log.as_str().into()],
        )
        .await?;
        for (topic, partitions) in &new.partitions {
            tx.execute(
                "INSERT INTO log_topics (topic, partitions) VALUES ($1, $2) ON CONFLICT (topic) DO NOTHING",
                &[topic.as_ref().into(), (*partitions).into()],
            )
            .await?;
        }
        let founded = founding(&mut tx).await?.expect("it was just written");
        tx.commit().await?;
        Ok(founded)
    }

    /// The records by which the log is recognised, one of each partition at the most.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn marks(&self) -> Result<Vec<Mark>, StoreError> {
        let sql = "SELECT topic, partition, record_offset, digest FROM log_marks";
        let rows: Vec<(String, i64, i64, Uuid)> = self.look().await?.fetch(sql, &[]).await?;
        let mark = |(topic, partition, offset, digest)| {
            let position = Position { partition: topic_partition(topic, partition)?, offset };
            Ok(Mark { position, digest })
        };
        rows.into_iter().map(mark).collect()
    }

    /// Recognises the log by these records from now on, where they stand behind those of before.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn mark(&self, marks: &[Mark]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for Mark { position: Position { partition, offset }, digest } in marks {
            tx.execute(
                "INSERT INTO log_marks (topic, partition, record_offset, digest) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (topic, partition) DO UPDATE
                 SET record_offset = excluded.record_offset, digest = excluded.digest
                 WHERE log_marks.record_offset < excluded.record_offset",
                &[partition.topic.as_ref().into(), partition.partition.into(), (*offset).into(), (*digest).into()],
            )
            .await?;
        }
        tx.commit().await
    }

    /// How far any generation has read each partition. One that cannot be asked is passed over.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn furthest(&self) -> Result<Positions, StoreError> {
        let listed = list(&mut self.look().await?, None).await?;
        let mut furthest = Positions::new();
        for listed in listed {
            let looked = async { self.look_at(&listed.generation).await?.checkpoints().await };
            match looked.await {
                Ok(reached) => furthest.merge(&reached),
                Err(error) if error.is_transient() && self.is_shared() => return Err(error),
                Err(error) => tracing::warn!(schema = listed.generation.schema(), %error, "has no checkpoints"),
            }
        }
        Ok(furthest)
    }

    /// What this database is known by among its copies; nothing where no other process can work on it. A copy by a dump
    /// has another one. A copy of a whole server has the same, unless its database is given another name.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn own_identity(&self) -> Result<Option<String>, StoreError> {
        let Some(sql) = self.own_identity_sql() else { return Ok(None) };
        let rows: Vec<(String,)> = self.look().await?.fetch(sql, &[]).await?;
        Ok(rows.into_iter().next().map(|(identity,)| identity))
    }

    /// Whether other processes may work on it, on other machines too.
    fn is_shared(&self) -> bool {
        self.own_identity_sql().is_some()
    }

    fn own_identity_sql(&self) -> Option<&'static str> {
        on_each!(self.backend.as_ref(), Backend, |_place, database| database::OWN_IDENTITY)
    }
}

async fn founding(tx: &mut Tx) -> Result<Option<Founding>, StoreError> {
    let rows: Vec<(Uuid, String)> = tx.fetch("SELECT id, log FROM installation", &[]).await?;
    let Some((id, log)) = rows.into_iter().next() else { return Ok(None) };
    let topics: Vec<(String, i64)> = tx.fetch("SELECT topic, partitions FROM log_topics", &[]).await?;
    let partitions = topics.into_iter().map(|(topic, count)| {
        let count = i32::try_from(count)
            .map_err(|_| StoreError::Misconfigured(format!("{topic} cannot have {count} partitions")))?;
        Ok((topic.into(), count))
    });
    Ok(Some(Founding { id, log, partitions: partitions.collect::<Result<_, StoreError>>()? }))
}
