use crate::{StoreError, Tx, Value};

/// Adds each number to the count that its key has in `table`: the one in the column `count`, in the row whose primary key is
/// the column `key`. A key that is not there yet has counted nothing.
///
/// # Errors
/// [`StoreError`] as the database answers, such as for a key that is given twice.
pub async fn add_to_counts<'v>(
    tx: &mut Tx,
    table: &str,
    key: &str,
    count: &str,
    numbers: impl IntoIterator<Item = (impl Into<Value<'v>>, i64)>,
) -> Result<(), StoreError> {
    let rows: Vec<[Value<'v>; 2]> = numbers.into_iter().map(|(key, number)| [key.into(), number.into()]).collect();
    let sql = format!(
        "INSERT INTO {table} ({key}, {count}) VALUES $rows
         ON CONFLICT ({key}) DO UPDATE SET {count} = {table}.{count} + excluded.{count}"
    );
    tx.execute_rows(&sql, &rows).await.map(drop)
}
