use balcony_store::{Before, KeyedRequest};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Desk, DeskError};
use crate::clock::milliseconds_now;

/// How long what was begun may be under way. Whoever has not said by then that it is done has not lived to say it.
const UNDER_WAY_MAX: i64 = 15 * 60 * 1_000;

impl Desk {
    /// Does `deed`, which `said` says in full, unless that was done under this `id` within the last 30 days, by any process
    /// on the installation's database; gives what it gave then. A deed that fails may be done again. It is done to its end
    /// although whoever asked leaves.
    ///
    /// # Errors
    /// As `deed`; [`DeskError::AnotherUnderKey`], [`DeskError::UnderWay`] and [`DeskError::CutShort`].
    pub async fn once<T: Serialize + Send + 'static>(
        &self,
        id: Uuid,
        said: String,
        deed: impl Future<Output = Result<T, DeskError>> + Send + 'static,
    ) -> Result<Value, DeskError> {
        let database = self.installation.database.clone();
        let done = tokio::spawn(async move {
            let at = milliseconds_now();
            match database.begin_request(&KeyedRequest { id, said, at }).await? {
                Before::Nothing => {}
                Before::Done(answer) => return serde_json::from_str(&answer).map_err(|_| DeskError::CutShort),
                Before::Another => return Err(DeskError::AnotherUnderKey),
                Before::Begun(since) if at.saturating_sub(since) < UNDER_WAY_MAX => return Err(DeskError::UnderWay),
                Before::Begun(_) => return Err(DeskError::CutShort),
            }
            let done = deed.await.map(|done| serde_json::to_value(done).unwrap_or_default());
            let noted = match &done {
                Ok(answer) => database.end_request(id, &answer.to_string()).await,
                Err(_) => database.forget_request(id).await,
            };
            if let Err(error) = noted {
                tracing::warn!(%error, "what became of a request under an Idempotency-Key was not noted");
            }
            done
        });
        done.await.unwrap_or_else(|_| Err(DeskError::CutShort))
    }
}
