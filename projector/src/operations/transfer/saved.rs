//! The file of an export that was cut short, or of one that is kept up to date.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use balcony_event_log::{EventLog, Positions, Record};

use super::digest::{Digest, RecordDigest, of_record};
use super::format::Format;
use super::line::{decode, read_line};
use super::place::{Places, RecordPlace, is_finite};
use super::reading::read;

/// What a file holds already.
pub(super) struct Saved {
    pub(super) file: File,
    pub(super) digest: Digest,
    places: Places<RecordDigest>,
    /// Where the last whole line ends.
    end: u64,
}

impl Saved {
    /// Reads the file at `path` and keeps other exports from it. A file that is missing is made.
    pub(super) fn open(path: &Path, format: &Format) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("--resume: {} cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("--resume: another export writes {}", path.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("--resume: {} cannot be locked", path.display()));
            }
        }
        let mut saved = Self { file, digest: Digest::default(), places: Places::new(), end: 0 };
        saved.read_lines(format).with_context(|| format!("--resume: {}", path.display()))?;
        Ok(saved)
    }

    fn read_lines(&mut self, format: &Format) -> anyhow::Result<()> {
        let mut input = BufReader::new(self.file.try_clone()?);
        let mut text = Vec::new();
        loop {
            let number = self.digest.events + 1;
            read_line(&mut input, &mut text).with_context(|| format!("line {number}"))?;
            // Only the last line can be without its end: the export was killed while it wrote it.
            if text.last() != Some(&b'\n') {
                return Ok(());
            }
            self.take(&text, format).map_err(|error| anyhow!("line {number}: {error:#}"))?;
            self.end += text.len() as u64;
        }
    }

    fn take(&mut self, text: &[u8], format: &Format) -> anyhow::Result<()> {
        let line = decode(text, format)?;
        let place = line.place.context("is not from an export: it does not say where its record stood")?;
        let record = line.digest(format);
        self.places.take(place, record, &format.topics)?;
        self.digest.add(&record);
        Ok(())
    }

    /// Where the export goes on, up to `to`, after checking that the last records of the file stand in this log.
    pub(super) async fn next(&self, log: &dyn EventLog, format: &Format, to: &Positions) -> anyhow::Result<Positions> {
        let topics = &format.topics;
        let (mut last, mut behind_last) = (Positions::new(), Positions::new());
        for (partition, offset, _) in self.places.last(topics) {
            ensure!(to.next_offset(&partition) > offset, "--resume: the file is of another log, or this one was cut");
            last.set(partition.clone(), offset);
            behind_last.set(partition, offset + 1);
        }
        let mut found = Places::new();
        let gaps = read(log, topics, &last, &behind_last, |records, _| {
            for record in records {
                let place = RecordPlace::of(record, topics);
                let Record { key, headers, payload, .. } = record;
                found.take(place, of_record(place.topic.name(topics), key, headers, payload), topics)?;
            }
            Ok(())
        })
        .await?;
        for (partition, offset, record) in self.places.last(topics) {
            let same = found.last(topics).any(|found| found == (partition.clone(), offset, record));
            // Records of a finite topic may be gone by now, and others where somebody removed them.
            let is_gone = is_finite(&partition.topic, topics) || gaps.iter().any(|gap| gap.partition == partition);
            ensure!(same || is_gone, "--resume: the file is of another log");
        }
        Ok(behind_last)
    }

    /// Removes what stands behind the last whole line, where the export then goes on.
    pub(super) fn cut(&mut self) -> anyhow::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        Ok(())
    }
}
