use balcony_store::{Generation, ParkedRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Desk, DeskError, cause};
use crate::catalogue::Step;
use crate::kept::read;
use crate::moment::Moment;
use crate::operations::parked::finding::{Firsts, find_any, live};
use crate::operations::remedy::Remedy;
use crate::operations::retry::Outcome;

/// A record that was set aside, as lists have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedItem {
    /// Its id.
    pub id: Uuid,
    /// The step that set it aside.
    pub projection: String,
    /// The topic it stands in, by its full name.
    pub topic: String,
    /// The partition it stands in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key as text; empty when it has none.
    pub key: String,
    /// Why it was set aside.
    pub error: String,
    /// When.
    pub parked_at: Moment,
    /// Whether an earlier record of its key is parked.
    pub waits: bool,
}

/// Everything that is known of a record that was set aside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParkedDetail {
    /// What lists have of it.
    #[serde(flatten)]
    pub item: ParkedItem,
    /// Its headers by name.
    pub headers: Map<String, Value>,
    /// Its payload; as text, with U+FFFD for what is no UTF-8.
    pub payload: String,
    /// When it was given up, if it was.
    pub discarded_at: Option<Moment>,
}

/// Where a list of parked records goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedPlace {
    /// The step.
    pub step: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Desk {
    /// Up to `most` records that are parked, behind `after` or from the first: by step, then in the order of the log.
    ///
    /// # Errors
    /// [`DeskError::Store`], and [`DeskError::UnknownStep`] for a `step` that is none.
    pub async fn parked(
        &self,
        step: Option<&str>,
        after: Option<&ParkedPlace>,
        most: usize,
    ) -> Result<Vec<ParkedItem>, DeskError> {
        if let Some(step) = step {
            self.installation.catalogue.find(step)?;
        }
        let mut generations = live(&self.installation).await.map_err(cause)?;
        generations.retain(|live| step.is_none_or(|step| live.projection == step));
        generations.retain(|live| after.is_none_or(|after| live.projection >= after.step));
        generations.sort_by(|a, b| a.projection.cmp(&b.projection));
        let mut items = Vec::new();
        for generation in generations {
            let after = after.filter(|after| after.step == generation.projection);
            let missing = most - items.len();
            items.extend(self.parked_in(&generation, after, missing).await?);
            if items.len() == most {
                break;
            }
        }
        Ok(items)
    }

    async fn parked_in(
        &self,
        generation: &Generation,
        after: Option<&ParkedPlace>,
        most: usize,
    ) -> Result<Vec<ParkedItem>, DeskError> {
        let mut tx = self.installation.database.look_at(generation).await?;
        let firsts = Firsts::of(tx.parked_keys().await?);
        let after = after.map(|after| (after.topic.as_str(), after.partition, after.offset));
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let records = tx.parked_behind(after, false, most).await?;
        Ok(records.iter().map(|record| ParkedItem::of(&generation.projection, record, firsts.waits(record))).collect())
    }

    /// Everything that is known of the record `id`.
    ///
    /// # Errors
    /// [`DeskError::Store`], and [`DeskError::UnknownRecord`].
    pub async fn parked_record(&self, id: Uuid) -> Result<ParkedDetail, DeskError> {
        let (generation, record) = self.find(id).await?;
        let mut tx = self.installation.database.look_at(&generation).await?;
        let firsts = Firsts::of(tx.parked_keys().await?);
        Ok(ParkedDetail {
            item: ParkedItem::of(&generation.projection, &record, firsts.waits(&record)),
            headers: headers(&record),
            payload: String::from_utf8_lossy(&record.payload).into_owned(),
            discarded_at: record.discarded_at.map(Moment::from_milliseconds),
        })
    }

    /// Applies or delivers the record `id` after all, with what waits behind it.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn retry(&self, id: Uuid) -> Result<Outcome, DeskError> {
        Ok(self.remedy().retry(self.owner(id).await?, id).await?)
    }

    /// Gives the record `id` up, so that it is never applied or delivered, and retries what waited behind it.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn discard(&self, id: Uuid) -> Result<Outcome, DeskError> {
        Ok(self.remedy().discard(self.owner(id).await?, &[id]).await?)
    }

    async fn find(&self, id: Uuid) -> Result<(Generation, ParkedRecord), DeskError> {
        find_any(&self.installation, id).await.map_err(cause)?.ok_or(DeskError::UnknownRecord(id))
    }

    async fn owner(&self, id: Uuid) -> Result<&Step, DeskError> {
        let (generation, _) = self.find(id).await?;
        Ok(self.installation.catalogue.find(&generation.projection)?)
    }

    fn remedy(&self) -> Remedy {
        let (database, log) = (self.installation.database.clone(), self.installation.log.clone());
        Remedy { database, log, may_publish: true }
    }
}

/// The headers by name, of which the first counts; as text, with U+FFFD for what is no UTF-8.
fn headers(record: &ParkedRecord) -> Map<String, Value> {
    let mut by_name = Map::new();
    for (name, value) in read(&record.headers).0.iter() {
        by_name.entry(name).or_insert_with(|| String::from_utf8_lossy(value).into());
    }
    by_name
}

impl ParkedItem {
    pub(in crate::operations) fn of(projection: &str, record: &ParkedRecord, waits: bool) -> Self {
        Self {
            id: record.id,
            projection: projection.to_owned(),
            topic: record.partition.topic.to_string(),
            partition: record.partition.partition,
            offset: record.offset,
            key: String::from_utf8_lossy(&record.key).into_owned(),
            error: record.error.clone(),
            parked_at: Moment::from_milliseconds(record.parked_at),
            waits,
        }
    }

    /// Where a list goes on behind it.
    pub fn place(&self) -> ParkedPlace {
        ParkedPlace {
            step: self.projection.clone(),
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
        }
    }
}
