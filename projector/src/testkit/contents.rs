use std::collections::BTreeMap;
use std::fmt::Write as _;

use balcony_store::{StoreError, Tx};

/// All rows of all tables of a generation, each as a text, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    tables: BTreeMap<String, Vec<String>>,
}

/// Rows that are printed of each table and side.
const MOST_ROWS: usize = 10;

/// The tables of a generation but the runtime's, with their columns in order.
const POSTGRES_COLUMNS: &str = "
    SELECT pg_class.relname::text, pg_attribute.attname::text FROM pg_class
    JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relkind = 'r'
        AND pg_class.relname NOT IN ('checkpoints', 'parked')
        AND pg_attribute.attnum > 0 AND NOT pg_attribute.attisdropped
    ORDER BY pg_class.relname, pg_attribute.attnum";
const SQLITE_COLUMNS: &str = "
    SELECT sqlite_schema.name, columns.name FROM sqlite_schema
    JOIN pragma_table_info(sqlite_schema.name) AS columns
    WHERE sqlite_schema.type = 'table' AND sqlite_schema.name NOT IN ('checkpoints', 'parked')
        AND sqlite_schema.name NOT LIKE 'sqlite!_%' ESCAPE '!'
    ORDER BY sqlite_schema.name, columns.cid";

impl Contents {
    pub(super) async fn of(tx: &mut Tx) -> Result<Self, StoreError> {
        let columns: Vec<(String, String)> = match tx {
            Tx::Postgres(_) => tx.fetch(POSTGRES_COLUMNS, &[]).await?,
            Tx::Sqlite(_) => tx.fetch(SQLITE_COLUMNS, &[]).await?,
        };
        let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in columns {
            let value = match tx {
                Tx::Postgres(_) => format!("quote_nullable(\"{column}\"::text)"),
                Tx::Sqlite(_) => format!("quote(\"{column}\")"),
            };
            shown.entry(table).or_default().push(format!("'{column} = ' || {value}"));
        }
        let mut tables = BTreeMap::new();
        for (table, columns) in shown {
            let sql = format!("SELECT {} FROM \"{table}\"", columns.join(" || ', ' || "));
            let rows: Vec<(String,)> = tx.fetch(sql, &[]).await?;
            let mut rows: Vec<String> = rows.into_iter().map(|(row,)| row).collect();
            rows.sort_unstable();
            tables.insert(table, rows);
        }
        Ok(Self { tables })
    }

    /// The rows that only one of the two has: `-` here, `+` there. `None` where there are no such rows.
    pub(super) fn difference(&self, there: &Self) -> Option<String> {
        let mut text = String::new();
        for (table, here) in &self.tables {
            let there = there.tables.get(table).map_or(&[][..], Vec::as_slice);
            let (only_here, only_there) = (without(here, there), without(there, here));
            if only_here.is_empty() && only_there.is_empty() {
                continue;
            }
            writeln!(text, "{table}:").expect("writing to a String does not fail");
            for (sign, rows) in [('-', only_here), ('+', only_there)] {
                for row in rows.iter().take(MOST_ROWS) {
                    writeln!(text, "  {sign} {row}").expect("writing to a String does not fail");
                }
                if rows.len() > MOST_ROWS {
                    writeln!(text, "  {sign} … {} more", rows.len() - MOST_ROWS)
                        .expect("writing to a String does not fail");
                }
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The rows of `rows` that are not among `others`, each as often as there are more of it.
fn without<'r>(rows: &'r [String], others: &[String]) -> Vec<&'r String> {
    let mut left: BTreeMap<&String, usize> = BTreeMap::new();
    for other in others {
        *left.entry(other).or_default() += 1;
    }
    let is_extra = |row: &&String| match left.get_mut(*row) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    rows.iter().filter(is_extra).collect()
}
