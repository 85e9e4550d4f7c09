//! The shop's log as it lies in a file: a head that names the columns, then a row on each line, without quotes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, ensure};
use balcony_files::{Lines, Numbered};

/// The longest line, in bytes. Of a longer one the rest is passed over.
const LONGEST: usize = 16 << 10;
/// What a program without a file has: January 2020, the first day and some hours.
const SAMPLE: &[u8] = include_bytes!("../sample.csv");

/// A file that is being read.
pub(crate) struct Table {
    /// The columns that its head names.
    pub(crate) columns: Vec<String>,
    /// The lines behind its head.
    pub(crate) lines: Lines<Box<dyn BufRead + Send>>,
    /// How many bytes it has.
    pub(crate) length: u64,
}

/// What a line has in each column.
pub(crate) type Row = BTreeMap<String, String>;

impl Table {
    /// Opens the file, or the sample, and reads its head, which has to name the columns `wanted`.
    pub(crate) fn open(path: Option<&Path>, wanted: &[&str]) -> anyhow::Result<Self> {
        let (file, length): (Box<dyn BufRead + Send>, _) = match path {
            None => (Box::new(SAMPLE), SAMPLE.len() as u64),
            Some(path) => {
                let file = File::open(path).with_context(|| format!("--file: {} cannot be read", path.display()))?;
                let length = file.metadata()?.len();
                (Box::new(BufReader::new(file)), length)
            }
        };
        let mut lines = Lines::new(file, LONGEST);
        let head = lines.next().context("--file: is empty")?.context("--file: cannot be read")?;
        let head = String::from_utf8(head.text).context("--file: line 1 is no text")?;
        let columns: Vec<String> = head.trim_start_matches('\u{feff}').split(',').map(str::to_owned).collect();
        for name in wanted {
            ensure!(columns.iter().any(|column| column == name), "--file: line 1 names no column {name}");
        }
        Ok(Self { columns, lines, length })
    }
}

/// What `line` has in `columns`.
///
/// # Errors
/// What is wrong with a line that is no row.
pub(crate) fn row(line: &Numbered, columns: &[String]) -> Result<Row, String> {
    if line.is_cut {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let text = std::str::from_utf8(&line.text).map_err(|_| "is no text in UTF-8".to_owned())?;
    let fields: Vec<&str> = text.split(',').collect();
    if fields.len() != columns.len() {
        return Err(format!("has {} fields and not {}", fields.len(), columns.len()));
    }
    Ok(columns.iter().cloned().zip(fields.into_iter().map(str::to_owned)).collect())
}
