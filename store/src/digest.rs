use crate::{StoreError, Tx, postgres, sqlite};

/// What a table holds, in a form that two generations of one read model can be compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: i64,
    /// A checksum over the keys of its rows, in whatever order they come.
    pub keys: String,
}

impl Tx {
    /// The digest of each table of a generation, in the order of their names; the store's own are left out.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn digests(&mut self) -> Result<Vec<TableDigest>, StoreError> {
        let sql = match self {
            Self::Postgres(_) => postgres::KEY_COLUMNS,
            Self::Sqlite(_) => sqlite::KEY_COLUMNS,
        };
        let key_columns: Vec<(String, String)> = self.fetch(sql, &[]).await?;
        let mut tables: Vec<(String, Vec<String>)> = Vec::new();
        for (table, column) in key_columns {
            match tables.last_mut() {
                Some((last, columns)) if *last == table => columns.push(column),
                _ => tables.push((table, vec![column])),
            }
        }

        let mut digests = Vec::with_capacity(tables.len());
        for (table, columns) in tables {
            let (rows, keys) = match self {
                Self::Postgres(tx) => postgres::digest(tx, &table, &columns).await?,
                Self::Sqlite(tx) => sqlite::digest(tx, &table, &columns).await?,
            };
            digests.push(TableDigest { table, rows, keys });
        }
        Ok(digests)
    }
}
