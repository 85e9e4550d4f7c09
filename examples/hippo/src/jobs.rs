//! The jobs that have ended, and what they printed: a read model, which also says what must not be done again.

use balcony_event_log::Record;
use balcony_projector::{Decode, Moment, Projection, Received, Topics};
use balcony_store::{ReadModel, StoreError, Tx, Uuid, Value};
use serde::Deserialize;

use crate::config::{FINISH, OUTPUT};
use crate::memory::Memory;

const TABLES: &str = "
CREATE TABLE finishes (job_id UUID NOT NULL PRIMARY KEY, step TEXT NOT NULL, is_success BOOLEAN NOT NULL,
    finish_time BIGINT NOT NULL, duration DOUBLE PRECISION NOT NULL);
CREATE TABLE outputs (job_id UUID NOT NULL PRIMARY KEY, message TEXT NOT NULL, failure TEXT, stdout TEXT NOT NULL,
    stderr TEXT NOT NULL);
CREATE INDEX finishes_by_time ON finishes (finish_time);";

/// Writes down which jobs have ended.
pub(crate) struct Ends(pub(crate) ReadModel);

/// What is known of a job that has ended. Either message says a part of it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum End {
    /// The finish message.
    Finish {
        /// The step.
        hippo_name: String,
        /// The job.
        job_id: Uuid,
        /// Whether it did what it should.
        is_success: bool,
        /// When it ended.
        finish_time: Moment,
        /// How many seconds it took.
        duration_time: f64,
    },
    /// What it printed.
    Output {
        /// The job.
        job_id: Uuid,
        /// The message that started it.
        message: String,
        /// Why it failed.
        failure: Option<String>,
        /// The end of its standard output.
        stdout: String,
        /// The end of its standard error.
        stderr: String,
    },
}

/// The read model of `topics`.
pub(crate) fn model(topics: &Topics) -> ReadModel {
    ReadModel::new("jobs", 1, [topics.get(FINISH).clone(), topics.get(OUTPUT).clone()], TABLES)
}

impl Decode for End {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        serde_json::from_slice(&record.payload).map(Some).map_err(|error| error.to_string())
    }
}

impl Projection for Ends {
    type Event = End;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    async fn apply(&self, ends: &[Received<End>], tx: &mut Tx) -> Result<(), StoreError> {
        let (mut finishes, mut outputs) = (Vec::<[Value<'_>; 5]>::new(), Vec::<[Value<'_>; 5]>::new());
        for end in ends {
            match &end.value {
                End::Finish { hippo_name, job_id, is_success, finish_time, duration_time } => finishes.push([
                    (*job_id).into(),
                    hippo_name.as_str().into(),
                    (*is_success).into(),
                    finish_time.milliseconds().into(),
                    (*duration_time).into(),
                ]),
                End::Output { job_id, message, failure, stdout, stderr } => outputs.push([
                    (*job_id).into(),
                    message.as_str().into(),
                    failure.as_deref().into(),
                    stdout.as_str().into(),
                    stderr.as_str().into(),
                ]),
            }
        }
        let columns = ["job_id", "step", "is_success", "finish_time", "duration"];
        tx.insert_new("finishes", &["job_id"], columns, &finishes).await?;
        let columns = ["job_id", "message", "failure", "stdout", "stderr"];
        tx.insert_new("outputs", &["job_id"], columns, &outputs).await.map(drop)
    }
}

/// Whether the job's end is in the log.
pub(crate) async fn has_ended(memory: &Memory, job_id: Uuid) -> anyhow::Result<bool> {
    let sql = "SELECT step FROM finishes WHERE job_id = $1";
    let found: Vec<(String,)> = memory.fetch("jobs", sql, &[job_id.into()]).await?;
    Ok(!found.is_empty())
}
