//! The jobs that have ended, and what they printed: a read model, which also says what must not be done again.

use std::collections::BTreeMap;

use balcony_event_log::Record;
use balcony_projector::{Decode, Newest, NewestError, Projection, Received, Topics};
use balcony_store::{Json, ReadModel, Reader, StoreError, Tx, Uuid, Value};
use serde::Deserialize;
use serde_json::Value as Body;

use crate::config::{FINISH, OUTPUT};

const TABLES: &str = "
CREATE TABLE finishes (job_id UUID NOT NULL PRIMARY KEY, step TEXT NOT NULL, is_success BOOLEAN NOT NULL,
    finish_time TEXT NOT NULL, body JSONB NOT NULL);
CREATE TABLE outputs (job_id UUID NOT NULL PRIMARY KEY, body JSONB NOT NULL);
CREATE INDEX finishes_by_time ON finishes (finish_time);";

/// Remembers which jobs have ended.
pub(crate) struct Jobs(ReadModel);

/// A message about a job that has ended: its finish message, or what it printed.
#[derive(Deserialize)]
pub(crate) struct End {
    job_id: Uuid,
    #[serde(flatten)]
    finish: Option<Finish>,
    #[serde(skip)]
    body: Body,
}

#[derive(Deserialize)]
struct Finish {
    hippo_name: String,
    is_success: bool,
    finish_time: String,
}

/// How a step has done.
#[derive(Clone, Default)]
pub(crate) struct Count {
    pub(crate) succeeded: i64,
    pub(crate) failed: i64,
    pub(crate) last: String,
}

impl Jobs {
    pub(crate) fn new(topics: &Topics) -> Self {
        Self(ReadModel::new("jobs", 1, [topics.get(FINISH).clone(), topics.get(OUTPUT).clone()], TABLES))
    }

    /// Whether the job's finish message is in the log.
    pub(crate) async fn has_ended(&self, newest: &Newest, job_id: Uuid) -> Result<bool, NewestError> {
        let sql = "SELECT step FROM finishes WHERE job_id = $1";
        let found: Vec<(String,)> = newest.fetch(&self.0, sql, &[job_id.into()]).await?;
        Ok(!found.is_empty())
    }
}

impl Decode for End {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let body: Body = serde_json::from_slice(&record.payload).map_err(|error| error.to_string())?;
        let end = Self::deserialize(&body).map_err(|error| error.to_string())?;
        Ok(Some(Self { body, ..end }))
    }
}

impl Projection for Jobs {
    type Event = End;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    async fn apply(&self, ends: &[Received<End>], tx: &mut Tx) -> Result<(), StoreError> {
        let (mut finishes, mut outputs) = (Vec::<[Value<'_>; 5]>::new(), Vec::<[Value<'_>; 2]>::new());
        for End { job_id, finish, body } in ends.iter().map(|end| &**end) {
            match finish {
                Some(Finish { hippo_name: step, is_success, finish_time: time }) => {
                    let (step, time) = (step.as_str().into(), time.as_str().into());
                    finishes.push([(*job_id).into(), step, (*is_success).into(), time, body.clone().into()]);
                }
                None => outputs.push([(*job_id).into(), body.clone().into()]),
            }
        }
        let columns = ["job_id", "step", "is_success", "finish_time", "body"];
        tx.insert_new("finishes", &["job_id"], columns, &finishes).await?;
        tx.insert_new("outputs", &["job_id"], ["job_id", "body"], &outputs).await.map(drop)
    }
}

/// The jobs that ended last, of the step called `step` or of all: the finish message of each, and its `output`.
pub(crate) async fn last(reader: &Reader, step: Option<&str>, limit: usize) -> Result<Vec<Body>, StoreError> {
    let sql = "SELECT finishes.body, outputs.body FROM finishes JOIN outputs ON outputs.job_id = finishes.job_id
               WHERE $1 = '' OR step = $1 ORDER BY finish_time DESC, finishes.job_id LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<(Json<Body>, Json<Body>)> =
        reader.fetch(sql, &[step.unwrap_or_default().into(), limit.into()]).await?;
    let job = |(Json(mut finish), Json(output)): (Json<Body>, Json<Body>)| {
        finish["output"] = output;
        finish
    };
    Ok(rows.into_iter().map(job).collect())
}

/// How each step has done.
pub(crate) async fn counts(reader: &Reader) -> Result<BTreeMap<String, Count>, StoreError> {
    let sql =
        "SELECT step, COUNT(CASE WHEN is_success THEN 1 END), COUNT(*), MAX(finish_time) FROM finishes GROUP BY step";
    let rows: Vec<(String, i64, i64, String)> = reader.fetch(sql, &[]).await?;
    let count = |(step, succeeded, all, last)| (step, Count { succeeded, failed: all - succeeded, last });
    Ok(rows.into_iter().map(count).collect())
}
