//! Which parked records are tried again by themselves, as it is written down.

use balcony_store::{Database, StoreError, Tx, Writer};
use uuid::Uuid;

/// How many are tried at a time.
const AT_A_TIME: i64 = 100;
const SCHEMA: &str = include_str!("../../../migrations/reactor_later.sql");

/// Makes the table of what is tried again in the namespace of a reactor called `name`, which an earlier version may have
/// made without.
pub(super) async fn prepare(name: &str, database: &Database, writer: &Writer) -> Result<(), StoreError> {
    let looked = writer.snapshot().await?.fetch::<(i64,)>("SELECT COUNT(*) FROM tried_again WHERE 1 = 0", &[]).await;
    match looked {
        Err(error) if error.is_missing_table() => database.add_tables(name, writer, SCHEMA).await,
        looked => looked.map(drop),
    }
}

/// Notes that the parked records `ids` were tried at `now` and are tried again.
pub(super) async fn note(tx: &mut Tx, ids: &[Uuid], now: i64) -> Result<(), StoreError> {
    let rows: Vec<_> = ids.iter().map(|id| [(*id).into(), now.into()]).collect();
    let sql = "INSERT INTO tried_again (id, tried_at) VALUES $rows
               ON CONFLICT (id) DO UPDATE SET tried_at = excluded.tried_at";
    tx.execute_rows(sql, &rows).await.map(drop)
}

/// Notes that the parked record `id` is not tried again by itself.
pub(super) async fn forget(tx: &mut Tx, id: Uuid) -> Result<(), StoreError> {
    tx.execute("DELETE FROM tried_again WHERE id = $1", &[id.into()]).await.map(drop)
}

/// Forgets what was parked before `since`, and what is parked no more.
pub(super) async fn give_up(tx: &mut Tx, since: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM tried_again WHERE NOT EXISTS (
                   SELECT 1 FROM parked WHERE parked.id = tried_again.id AND parked.discarded_at IS NULL
                       AND parked.parked_at > $1)";
    tx.execute(sql, &[since.into()]).await.map(drop)
}

/// Up to [`AT_A_TIME`] parked records that were tried last before `before`, the longest ago first.
pub(super) async fn due(tx: &mut Tx, before: i64) -> Result<Vec<Uuid>, StoreError> {
    let sql = "SELECT tried_again.id FROM tried_again JOIN parked ON parked.id = tried_again.id
               WHERE tried_again.tried_at <= $1
               ORDER BY tried_again.tried_at, parked.topic, parked.partition, parked.record_offset LIMIT $2";
    let due: Vec<(Uuid,)> = tx.fetch(sql, &[before.into(), AT_A_TIME.into()]).await?;
    Ok(due.into_iter().map(|(id,)| id).collect())
}
