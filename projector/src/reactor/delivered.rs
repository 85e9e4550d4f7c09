//! What was delivered ahead of the checkpoint, so that a crash does not repeat it.

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Claim, StoreError, Tx};

use crate::parking::PassedOver;

/// Notes what was delivered although the checkpoint has not passed it.
pub(super) async fn note(tx: &mut Tx, delivered: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
    let rows: Vec<_> = delivered
        .iter()
        .map(|(partition, offset)| [partition.topic.as_ref().into(), partition.partition.into(), (*offset).into()])
        .collect();
    let sql = "INSERT INTO delivered (topic, partition, record_offset) VALUES $rows ON CONFLICT DO NOTHING";
    tx.execute_rows(sql, &rows).await.map(drop)
}

/// Forgets what lies below the checkpoints `reached`.
pub(super) async fn forget(tx: &mut Tx, reached: &Positions) -> Result<(), StoreError> {
    for (partition, next_offset) in reached {
        tx.execute(
            "DELETE FROM delivered WHERE topic = $1 AND partition = $2 AND record_offset < $3",
            &[partition.topic.as_ref().into(), partition.partition.into(), next_offset.into()],
        )
        .await?;
    }
    Ok(())
}

/// What was delivered ahead of the checkpoints of `claim`.
pub(super) async fn ahead(tx: &mut Tx, claim: &Claim) -> Result<PassedOver, StoreError> {
    let mut ahead = PassedOver::new();
    for partition in claim.positions().partitions() {
        let rows: Vec<(i64,)> = tx
            .fetch(
                "SELECT record_offset FROM delivered WHERE topic = $1 AND partition = $2",
                &[partition.topic.as_ref().into(), partition.partition.into()],
            )
            .await?;
        ahead.extend(rows.into_iter().map(|(offset,)| (partition.clone(), offset)));
    }
    Ok(ahead)
}
