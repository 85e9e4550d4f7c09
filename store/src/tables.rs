use std::collections::BTreeMap;

use crate::tx::Inner;
use crate::{GenerationTx, StoreError};

/// What a table holds, in a form that two generations of one read model can be compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    /// Its name.
    pub table: String,
    /// The number of its rows.
    pub rows: i64,
    /// A checksum over its rows, every column of them, in whatever order they come. It compares two generations in one
    /// database.
    pub checksum: String,
}

impl GenerationTx {
    /// The tables of the read model, in the order of their names, with their columns in order; this crate's own are
    /// left out.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn tables(&mut self) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let sql = on_each!(&self.inner, Inner, |_tx, database| database::COLUMNS);
        Ok(by_table(self.fetch(sql, &[]).await?))
    }

    /// Every row of each of these tables as a text of its columns, sorted. It holds them all in memory, for tests.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn contents(&mut self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let mut contents = BTreeMap::new();
        for (table, columns) in self.tables().await? {
            let shown = columns.iter().map(|column| {
                let value = on_each!(&self.inner, Inner, |_tx, database| database::shown(column));
                format!("'{column} = ' || {value}")
            });
            let sql = format!("SELECT {} FROM \"{table}\"", shown.collect::<Vec<_>>().join(" || ', ' || "));
            let rows: Vec<(String,)> = self.fetch(sql, &[]).await?;
            let mut rows: Vec<String> = rows.into_iter().map(|(row,)| row).collect();
            rows.sort_unstable();
            contents.insert(table, rows);
        }
        Ok(contents)
    }
}

/// The names of tables, each with those of its columns, of rows of a table's name and a column's.
pub(crate) fn by_table(rows: Vec<(String, String)>) -> Vec<(String, Vec<String>)> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for (table, column) in rows {
        match tables.last_mut() {
            Some((last, columns)) if *last == table => columns.push(column),
            _ => tables.push((table, vec![column])),
        }
    }
    tables
}
