use std::time::Duration;

use uuid::Uuid;

use crate::{Database, StoreError};

/// Something that is to be done once however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// What it is known by.
    pub id: Uuid,
    /// What is asked for, in full: another text is another request.
    pub said: String,
    /// When this was asked, in milliseconds since 1970.
    pub at: i64,
}

/// What had become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It is new, and now noted: whoever asked does it.
    Nothing,
    /// Somebody has begun it, at this time in milliseconds since 1970, and has not said that it is done.
    Begun(i64),
    /// It was done, and this was the answer.
    Done(String),
    /// Another request was made under its id.
    Another,
}

/// How long a request is remembered.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

impl Database {
    /// Begins `request`, unless that was done within the last 30 days, and says what had become of it. Several processes may
    /// do so at once: for one of them it is new.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn begin_request(&self, request: &KeyedRequest) -> Result<Before, StoreError> {
        let KeyedRequest { id, said, at } = request;
        let mut tx = self.begin().await?;
        let oldest = at.saturating_sub(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX));
        tx.execute("DELETE FROM keyed_requests WHERE begun_at < $1", &[oldest.into()]).await?;
        let is_new = tx
            .execute(
                "INSERT INTO keyed_requests (id, said, begun_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
                &[(*id).into(), said.as_str().into(), (*at).into()],
            )
            .await?;
        let sql = "SELECT said, begun_at, answer FROM keyed_requests WHERE id = $1";
        let rows: Vec<(String, i64, Option<String>)> = tx.fetch(sql, &[(*id).into()]).await?;
        tx.commit().await?;
        Ok(match rows.into_iter().next() {
            _ if is_new == 1 => Before::Nothing,
            Some((first, ..)) if first != *said => Before::Another,
            Some((.., Some(answer))) => Before::Done(answer),
            Some((_, begun_at, None)) => Before::Begun(begun_at),
            // Whoever had it gave it up in this moment.
            None => Before::Begun(*at),
        })
    }

    /// Keeps the answer to a request that was begun.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn end_request(&self, id: Uuid, answer: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let sql = "UPDATE keyed_requests SET answer = $2 WHERE id = $1";
        tx.execute(sql, &[id.into(), answer.into()]).await?;
        tx.commit().await
    }

    /// Forgets a request that was begun and not done.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn forget_request(&self, id: Uuid) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.execute("DELETE FROM keyed_requests WHERE id = $1 AND answer IS NULL", &[id.into()]).await?;
        tx.commit().await
    }
}
