//! A record that repeats an id is the same event again and has no effect. Where the rows do not show that an event was
//! applied, because what it did was undone since, its id is remembered.

use balcony_projector::Received;
use balcony_store::{StoreError, Tx, Value};

use crate::Logged;

/// Those of `events` that come for the first time, in their order. `table` remembers them by its only column, `id`.
pub(crate) async fn first_times<'a>(
    events: impl Iterator<Item = &'a Received<Logged>>,
    table: &str,
    tx: &mut Tx,
) -> Result<Vec<&'a Received<Logged>>, StoreError> {
    let events: Vec<_> = events.collect();
    let ids: Vec<[Value<'_>; 1]> = events.iter().map(|received| [received.id.into()]).collect();
    let are_new = tx.insert_new(table, &["id"], ["id"], &ids).await?;
    Ok(events.into_iter().zip(are_new).filter(|(_, is_new)| *is_new).map(|(received, _)| received).collect())
}
