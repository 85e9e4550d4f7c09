use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All rows of all tables of a generation, each as a text, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    tables: BTreeMap<String, Vec<String>>,
}

/// Rows that are printed of each table and side.
const MOST_ROWS: usize = 10;

impl Contents {
    /// Rows by table, sorted.
    pub(super) fn new(tables: BTreeMap<String, Vec<String>>) -> Self {
        Self { tables }
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
