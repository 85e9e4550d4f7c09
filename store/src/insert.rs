use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::tx::Inner;
use crate::value::{canonical, to_the_microsecond};
use crate::{Columns, StoreError, Tx, Value};

/// From how many rows the database's bulk path is quicker than statements.
const BULK_FROM: usize = 64;

impl Tx {
    /// Inserts the rows whose key is not in `table` yet and says of each row whether it was inserted. `key` names the
    /// columns of the table's primary key, which are among `columns`; among rows of one key the first counts.
    ///
    /// Many rows go through the database's bulk path (COPY on PostgreSQL), which assumes that all of them are new;
    /// where one is not, the same is done again row by row.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a key that is not among the columns or that is NULL, and [`StoreError`] as the
    /// database answers.
    pub async fn insert_new<const N: usize>(
        &mut self,
        table: &str,
        key: &[&str],
        columns: [&str; N],
        rows: &[[Value<'_>; N]],
    ) -> Result<Vec<bool>, StoreError> {
        let key_columns = key_columns(table, key, &columns)?;
        let is_no_key = |column: &&usize| rows.iter().any(|row| is_no_key(&row[**column]));
        if let Some(column) = key_columns.iter().find(is_no_key) {
            return Err(StoreError::refusal(format!("a row for {table} has no {}, its key", columns[*column])));
        }
        if rows.len() >= BULK_FROM && self.insert_all(table, &columns, rows).await? {
            return Ok(vec![true; rows.len()]);
        }

        let sql = format!(
            "INSERT INTO {table} ({}) VALUES $rows ON CONFLICT DO NOTHING RETURNING {}",
            columns.join(", "),
            key.join(", ")
        );
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let kinds: Vec<&Value<'_>> = key_columns.iter().map(|column| &first[*column]).collect();
        let inserting = async {
            on_each!(&mut self.inner, Inner, |tx, database| {
                database::fetch_rows(tx, &sql, rows, |columns| returned(columns, &kinds)).await
            })
        };
        let returned: Vec<Key> = self.watch.over(inserting).await?;
        let mut inserted: HashMap<Key, usize> = HashMap::with_capacity(returned.len());
        for key in returned {
            *inserted.entry(key).or_default() += 1;
        }
        let is_new = |row: &[Value<'_>; N]| {
            let left = inserted.get_mut(&Key::of(row, &key_columns)).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        };
        Ok(rows.iter().map(is_new).collect())
    }

    /// Inserts every row by the bulk path, or none and `false` where a key is there already.
    async fn insert_all<const N: usize>(
        &mut self,
        table: &str,
        columns: &[&str; N],
        rows: &[[Value<'_>; N]],
    ) -> Result<bool, StoreError> {
        self.execute("SAVEPOINT bulk", &[]).await?;
        let inserting = async {
            on_each!(&mut self.inner, Inner, |tx, database| database::insert_all(tx, table, columns, rows).await)
        };
        match self.watch.over(inserting).await {
            Ok(()) => {
                self.execute("RELEASE SAVEPOINT bulk", &[]).await?;
                Ok(true)
            }
            Err(error) if error.is_unique_violation() => {
                self.execute("ROLLBACK TO SAVEPOINT bulk", &[]).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Where the columns of the key stand among `columns`.
fn key_columns(table: &str, key: &[&str], columns: &[&str]) -> Result<Vec<usize>, StoreError> {
    if key.is_empty() {
        return Err(StoreError::refusal(format!("rows for {table} are to be inserted by a key of no column")));
    }
    key.iter()
        .map(|name| {
            columns
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| StoreError::refusal(format!("the key {name} of {table} is not among its columns")))
        })
        .collect()
}

/// Whether SQLite would take it for NULL.
fn is_no_key(value: &Value<'_>) -> bool {
    value.is_null() || matches!(value, Value::Float(Some(value)) if value.is_nan())
}

/// What a row is known by. Most keys are of one column and take no list.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    first: KeyPart,
    others: Vec<KeyPart>,
}

impl Key {
    /// The key of a row that is given.
    fn of(row: &[Value<'_>], columns: &[usize]) -> Self {
        let mut parts = columns.iter().map(|column| KeyPart::of(&row[*column]));
        Self { first: parts.next().unwrap_or(KeyPart::Null), others: parts.collect() }
    }
}

/// A value of a key in a form in which the value that was given is equal to the one that the database gives back.
#[derive(Debug, PartialEq, Eq, Hash)]
enum KeyPart {
    Int(i64),
    Uuid(Uuid),
    Text(String),
    Bytes(Vec<u8>),
    Bool(bool),
    /// The bits; there is one zero.
    Float(u64),
    /// The text, canonical.
    Json(String),
    Time(OffsetDateTime),
    Null,
}

impl KeyPart {
    fn of(value: &Value<'_>) -> Self {
        let part = match value {
            Value::Int(value) => value.map(Self::Int),
            Value::Uuid(value) => value.map(Self::Uuid),
            Value::Text(value) => value.as_ref().map(|value| Self::Text(value.clone().into_owned())),
            Value::Bytes(value) => value.as_ref().map(|value| Self::Bytes(value.clone().into_owned())),
            Value::Bool(value) => value.map(Self::Bool),
            Value::Float(value) => value.map(|value| Self::Float((value + 0.0).to_bits())),
            Value::Json(value) => value.as_ref().map(|value| Self::Json(canonical(value))),
            Value::Time(value) => value.map(|value| Self::Time(to_the_microsecond(value))),
        };
        part.unwrap_or(Self::Null)
    }
}

/// The key of a row that the database gives back, whose columns are of the types of `kinds`.
fn returned(columns: &mut Columns<'_>, kinds: &[&Value<'_>]) -> Result<Key, StoreError> {
    let mut parts = kinds.iter().map(|kind| {
        let value = match kind {
            Value::Int(_) => Value::Int(columns.following()?),
            Value::Uuid(_) => Value::Uuid(columns.following()?),
            Value::Text(_) => columns.following::<Option<String>>()?.into(),
            Value::Bytes(_) => columns.following::<Option<Vec<u8>>>()?.into(),
            Value::Bool(_) => Value::Bool(columns.following()?),
            Value::Float(_) => Value::Float(columns.following()?),
            Value::Json(_) => Value::Json(columns.following()?),
            Value::Time(_) => Value::Time(columns.following()?),
        };
        Ok(KeyPart::of(&value))
    });
    let first = parts.next().unwrap_or(Ok(KeyPart::Null))?;
    Ok(Key { first, others: parts.collect::<Result<_, StoreError>>()? })
}
