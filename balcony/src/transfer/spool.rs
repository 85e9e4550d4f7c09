//! The lines of an import, checked and kept in a file without a name, so that nothing is appended before all are right.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;

use super::digest::{Digest, RecordDigest};
use super::line::{Line, decode, read_line};
use super::place::Places;

/// Lines that are all right.
pub(super) struct Spool {
    pub(super) digest: Digest,
    lines: File,
    /// The digest of each line's record, one after the other.
    digests: File,
}

impl Spool {
    /// Reads `input` to its end. The files are made in `folder`, or where the system keeps temporary ones.
    ///
    /// # Errors
    /// The first line that is wrong, with its number.
    pub(super) fn fill(input: &mut impl BufRead, folder: Option<&Path>, bar: &ProgressBar) -> anyhow::Result<Self> {
        let file = || {
            let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
            tempfile::tempfile_in(&folder).with_context(|| format!("no temporary file in {}", folder.display()))
        };
        let (mut lines, mut digests) = (BufWriter::new(file()?), BufWriter::new(file()?));
        let mut digest = Digest::default();
        let mut places = Places::new();
        let mut text = Vec::new();
        loop {
            let number = digest.events + 1;
            let mut check = || -> anyhow::Result<Option<RecordDigest>> {
                read_line(input, &mut text)?;
                if text.is_empty() {
                    return Ok(None);
                }
                let line = decode(&text)?;
                if let Some(place) = line.place {
                    places.take(place, ())?;
                }
                Ok(Some(line.digest()))
            };
            let Some(record) = check().map_err(|error| anyhow!("line {number}: {error:#}"))? else { break };
            lines.write_all(&text)?;
            digests.write_all(&record)?;
            digest.add(&record);
            bar.inc(1);
        }
        let rewound = |written: BufWriter<File>| -> anyhow::Result<File> {
            let mut file = written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        };
        Ok(Self { digest, lines: rewound(lines)?, digests: rewound(digests)? })
    }

    /// Gives the digest of each line's record to `take`, in order.
    pub(super) fn each_digest(&self, mut take: impl FnMut(u64, &RecordDigest)) -> anyhow::Result<()> {
        let mut file = &self.digests;
        file.rewind()?;
        let mut input = BufReader::new(file);
        let mut record = RecordDigest::default();
        for index in 0..self.digest.events {
            input.read_exact(&mut record)?;
            take(index, &record);
        }
        Ok(())
    }

    /// The lines, in order.
    pub(super) fn into_lines(self) -> impl Iterator<Item = anyhow::Result<Line>> {
        let mut input = BufReader::new(self.lines);
        let mut text = Vec::new();
        (0..self.digest.events).map(move |_| {
            read_line(&mut input, &mut text)?;
            decode(&text)
        })
    }
}
