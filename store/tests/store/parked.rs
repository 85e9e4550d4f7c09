use balcony_store::{GenerationTx, ParkedRecord, Scratch, Uuid};

use super::{at, open, partition};

on_both! {
    parked_records_are_kept_once
}

async fn parked_records_are_kept_once(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    let record = |offset, key: &[u8]| ParkedRecord {
        id: Uuid::from_u128(offset as u128),
        partition: partition(3),
        offset,
        key: key.to_vec(),
        headers: "{}".into(),
        payload: b"\0\xff".to_vec(),
        error: "it has a \u{FFFD} in it".into(),
        parked_at: 1,
        discarded_at: None,
    };
    let records = [record(7, b"key"), record(8, b""), record(9, b"key")];
    let with_nul = records.clone().map(|record| ParkedRecord { error: "it has a \0 in it".into(), ..record });
    for _ in 0..2 {
        let mut tx = writer.begin().await.unwrap();
        tx.park(&with_nul).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = writer.begin().await.unwrap();
    assert_eq!(tx.parked_count().await.unwrap(), 3);
    assert_eq!(tx.parked().await.unwrap(), records);
    assert_eq!(tx.parked_keys().await.unwrap(), [(partition(3), b"key".to_vec(), 7)]);
    let of_key = [records[0].clone(), records[2].clone()];
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 0, 9).await.unwrap(), of_key);
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 0, 1).await.unwrap(), of_key[..1]);
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 8, 9).await.unwrap(), of_key[1..]);
    assert_eq!(tx.parked_of_key(&partition(2), b"key", 0, 9).await.unwrap(), []);
    assert_eq!(tx.parked_count_of_key(&partition(3), b"key", 8).await.unwrap(), 1);
    assert_eq!(tx.parked_after(None, false, 2).await.unwrap(), records[..2]);
    assert_eq!(tx.parked_after(Some(&records[1]), false, 2).await.unwrap(), records[2..]);

    assert!(tx.parked_ahead().await.unwrap().is_empty(), "nobody reads that partition");
    tx.begin_at(&at(3, 8)).await.unwrap();
    tx.discard(records[2].id, 4).await.unwrap();
    let ahead = tx.parked_ahead().await.unwrap();
    assert_eq!(ahead, [(partition(3), 8), (partition(3), 9)], "discarded or not");
    tx.execute("UPDATE parked SET discarded_at = NULL", &[]).await.unwrap();

    tx.discard(records[0].id, 5).await.unwrap();
    tx.park_error(records[2].id, "again").await.unwrap();
    tx.unpark(records[1].id).await.unwrap();
    assert_eq!(tx.parked_count().await.unwrap(), 1);
    assert_eq!(tx.parked_keys().await.unwrap(), [(partition(3), b"key".to_vec(), 9)]);
    let left: Vec<_> = tx.parked().await.unwrap().into_iter().map(|left| (left.offset, left.discarded_at)).collect();
    assert_eq!(left, [(7, Some(5)), (9, None)], "what was discarded stays known");
    assert_eq!(tx.parked_record(records[2].id).await.unwrap().unwrap().error, "again");
    let listed = async |tx: &mut GenerationTx, discarded| tx.parked_after(None, discarded, 9).await.unwrap().len();
    assert_eq!((listed(&mut tx, false).await, listed(&mut tx, true).await), (1, 2));
    assert_eq!(tx.discard_all(6).await.unwrap(), 1);
    assert_eq!((tx.parked_count().await.unwrap(), listed(&mut tx, true).await), (0, 2));
}
