//! The lines of an import, checked and kept in a file without a name, so that nothing is appended before all are right.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use uuid::Uuid;

use super::digest::{Digest, RecordDigest};
use super::format::Format;
use super::line::{Line, decode, read_line};
use super::place::Places;

/// Lines that are all right.
pub(super) struct Spool {
    format: Arc<Format>,
    pub(super) digest: Digest,
    lines: File,
    /// The digest of each line's record, one after the other.
    digests: File,
}

/// A file that nobody else can open, and that is gone with its handle.
fn nameless_file(folder: &Path) -> std::io::Result<File> {
    let path = folder.join(format!("import-{}", Uuid::now_v7().simple()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

impl Spool {
    /// Reads `input` to its end. The files are made in `folder`, or where the system keeps temporary ones.
    ///
    /// # Errors
    /// The first line that is wrong, with its number.
    pub(super) fn fill(
        format: &Arc<Format>,
        input: &mut impl BufRead,
        folder: Option<&Path>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let file = || {
            let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
            nameless_file(&folder).with_context(|| format!("no temporary file in {}", folder.display()))
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
                let line = decode(&text, format)?;
                if let Some(place) = line.place {
                    places.take(place, (), &format.topics)?;
                }
                Ok(Some(line.digest(format)))
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
        Ok(Self { format: Arc::clone(format), digest, lines: rewound(lines)?, digests: rewound(digests)? })
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
            decode(&text, &self.format)
        })
    }
}
