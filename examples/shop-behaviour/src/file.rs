//! The shop's log as it lies in a file: a head that names the columns, then a row on each line, without quotes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, ensure};

/// The longest line, in bytes. Of a longer one the rest is passed over.
const LONGEST: usize = 16 << 10;
/// What a program without a file has: January 2020, the first day and some hours.
const SAMPLE: &[u8] = include_bytes!("../sample.csv");

/// A file that is being read.
pub(crate) struct Lines {
    file: Box<dyn BufRead + Send>,
    number: u64,
    /// The columns that its head names.
    pub(crate) columns: Vec<String>,
    /// How many bytes it has.
    pub(crate) length: u64,
}

/// A line of a file.
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// What it says, without its end.
    pub(crate) text: Vec<u8>,
    /// How many bytes of the file it took.
    pub(crate) length: u64,
}

/// What a line has in each column.
pub(crate) type Row = BTreeMap<String, String>;

impl Lines {
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
        let mut lines = Self { file, columns: Vec::new(), number: 0, length };
        let head = lines.next().context("--file: cannot be read")?.context("--file: is empty")?;
        let head = String::from_utf8(head.text).context("--file: line 1 is no text")?;
        lines.columns = head.trim_start_matches('\u{feff}').split(',').map(str::to_owned).collect();
        for name in wanted {
            ensure!(lines.columns.iter().any(|column| column == name), "--file: line 1 names no column {name}");
        }
        Ok(lines)
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut length = self.file.by_ref().take(LONGEST as u64).read_until(b'\n', &mut text)?;
        if length == LONGEST && !text.ends_with(b"\n") {
            length += self.file.skip_until(b'\n')?;
        }
        self.number += 1;
        text.truncate(text.trim_ascii_end().len());
        Ok((length > 0).then_some(Line { number: self.number, text, length: length as u64 }))
    }
}

impl Line {
    /// What it has in `columns`.
    ///
    /// # Errors
    /// What is wrong with a line that is no row.
    pub(crate) fn row(&self, columns: &[String]) -> Result<Row, String> {
        let text = std::str::from_utf8(&self.text).map_err(|_| "is no text in UTF-8".to_owned())?;
        let fields: Vec<&str> = text.split(',').collect();
        if text.len() == LONGEST {
            return Err(format!("is longer than {LONGEST} bytes"));
        }
        if fields.len() != columns.len() {
            return Err(format!("has {} fields and not {}", fields.len(), columns.len()));
        }
        Ok(columns.iter().cloned().zip(fields.into_iter().map(str::to_owned)).collect())
    }
}
