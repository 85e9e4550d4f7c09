//! Follows a text file line by line, wherever it is moved.
//!
//! A file that was renamed is read to its end before the one that took its place. A file that is shorter than it was, or begins
//! otherwise, was truncated, and is another from its beginning. A line without an end waits for it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use crate::place::{Generation, Place};

/// How often a file is looked at that has nothing new.
const PAUSE: Duration = Duration::from_millis(50);
/// How long nothing more may come to a file that was moved away before it is left.
const GRACE: Duration = Duration::from_secs(1);
/// How many bytes of its beginning a file is known by.
const HEAD_BYTES: usize = 1_024;
const CHUNK_BYTES: usize = 64 << 10;
/// What is kept of a line.
const LINE_BYTES: usize = 64 << 10;

/// A line of a file that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub place: Place,
    /// What it says, without its end; what is beyond 64 KiB of it is left out.
    pub text: Vec<u8>,
}

/// Whoever wanted the lines is gone.
struct Gone;

/// Follows what is at `path` on a thread of its own, until the lines are dropped: from `from` on, of which the files `known` were
/// before, or from the beginning of what is at `path`. Lines of white space alone are passed over. `ahead` lines wait in memory, the
/// others in the file.
///
/// A file that cannot be read is tried again every second.
///
/// # Errors
/// When there is no thread to be had.
pub fn follow(
    path: PathBuf,
    known: Vec<Generation>,
    from: Option<Place>,
    ahead: usize,
) -> io::Result<mpsc::Receiver<Line>> {
    let (sender, lines) = mpsc::channel(ahead);
    let follow = move || Tail::new(path, known, from.as_ref(), sender).follow();
    std::thread::Builder::new().name("tail".to_owned()).spawn(follow)?;
    Ok(lines)
}

/// What follows a path.
struct Tail {
    path: PathBuf,
    lines: mpsc::Sender<Line>,
    /// The files that were read before.
    known: Vec<Generation>,
    /// How many files there were.
    number: i64,
    open: Option<Open>,
    /// The file that was read last: when it was written, device and inode.
    last: Option<(SystemTime, u64, u64)>,
}

/// The file that is being read.
struct Open {
    file: File,
    generation: Generation,
    /// Its beginning.
    head: Vec<u8>,
    read_to: u64,
    line_begins: u64,
    line: i64,
    unfinished: Vec<u8>,
    /// Since when it is known to be moved away and nothing came.
    moved: Option<Instant>,
}

impl Tail {
    fn new(path: PathBuf, known: Vec<Generation>, from: Option<&Place>, lines: mpsc::Sender<Line>) -> Self {
        let number = known.iter().map(|known| known.number).max().unwrap_or(0);
        let mut tail = Self { path, lines, known, number, open: None, last: None };
        if let Some(from) = from {
            let found = tail.find(&from.file, from.offset.cast_unsigned());
            tail.open = found.and_then(|file| Open::at(file, from).ok());
            if tail.open.is_none() {
                tracing::warn!(path = %tail.path.display(), "what was read last is gone or was truncated; the next file begins");
                // Of those that lie beside it nobody knows which came after it.
                tail.last = Some((SystemTime::now(), 0, 0));
            }
        }
        tail
    }

    /// Follows the file until nobody wants its lines any more.
    fn follow(mut self) {
        loop {
            match self.step() {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) if self.lines.is_closed() => return,
                Ok(Ok(false)) => std::thread::sleep(PAUSE),
                Ok(Err(Gone)) => return,
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "the file cannot be read");
                    std::thread::sleep(GRACE);
                }
            }
        }
    }

    /// Reads on, and says whether there was something.
    fn step(&mut self) -> io::Result<Result<bool, Gone>> {
        let Some(open) = &mut self.open else { return self.open_next().map(Ok) };
        let mut bytes = vec![0; CHUNK_BYTES];
        let read = open.file.read_at(&mut bytes, open.read_to)?;
        // Looked at after the bytes were read: they are of the file that they are thought to be of.
        if open.file.metadata()?.len() < open.read_to || !begins_with(&open.file, &open.head)? {
            self.truncated()?;
            return Ok(Ok(true));
        }
        if read > 0 {
            return Ok(open.take(&bytes[..read], &self.lines).map(|()| true));
        }
        let is_at_path = match fs::metadata(&self.path) {
            Ok(metadata) => is_file(&metadata, &open.generation),
            // Between a file that was moved away and the next.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if is_at_path {
            open.moved = None;
            return Ok(Ok(false));
        }
        // Whoever wrote to it may do so until he opens the next.
        if open.moved.get_or_insert_with(Instant::now).elapsed() < GRACE {
            return Ok(Ok(false));
        }
        let finished = open.finish(&self.lines);
        let metadata = open.file.metadata()?;
        self.last = Some((metadata.modified()?, metadata.dev(), metadata.ino()));
        self.known.push(open.generation.clone());
        self.open = None;
        Ok(finished.map(|()| true))
    }

    /// The file begins anew. What was not read of it may lie beside it, copied before it was truncated.
    fn truncated(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let copy = self.beside()?.into_iter().find_map(|path| holds(&path, &open.generation, open.read_to));
        self.known.push(open.generation.clone());
        self.open = Some(match copy {
            Some(file) => Open { generation: open.generation.clone().in_file(&file.metadata()?), file, ..open },
            None => self.begin(File::open(&self.path)?)?,
        });
        Ok(())
    }

    /// Opens the file that comes after the last.
    fn open_next(&mut self) -> io::Result<bool> {
        let mut candidates = Vec::new();
        let beside = if self.last.is_some() { self.beside()? } else { Vec::new() };
        for path in beside.into_iter().chain([self.path.clone()]) {
            let Ok(file) = File::open(&path) else { continue };
            let metadata = file.metadata()?;
            let is_later = |(at, device, inode)| {
                let is_same = (metadata.dev(), metadata.ino()) == (device, inode);
                !is_same && metadata.modified().is_ok_and(|modified| modified >= at)
            };
            let is_known = || self.known.iter().any(|known| is_file(&metadata, known) && has_head(&file, known));
            if path == self.path || (self.last.is_some_and(is_later) && !is_known()) {
                candidates.push((metadata.modified()?, file));
            }
        }
        let Some((_, file)) = candidates.into_iter().min_by_key(|(modified, _)| *modified) else { return Ok(false) };
        self.open = Some(self.begin(file)?);
        Ok(true)
    }

    /// The next file, from its beginning.
    fn begin(&mut self, file: File) -> io::Result<Open> {
        self.number += 1;
        let generation = Generation { number: self.number, device: 0, inode: 0, head_bytes: 0, head: 0 };
        Open::at(file, &Place { file: generation, offset: 0, line: 1 })
    }

    /// The file that is `generation` and has so many bytes, wherever it was moved or copied.
    fn find(&self, generation: &Generation, bytes: u64) -> Option<File> {
        let is_it = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| is_file(&metadata, generation));
        let (mut paths, copies): (Vec<_>, Vec<_>) =
            self.beside().ok()?.into_iter().chain([self.path.clone()]).partition(is_it);
        paths.extend(copies.into_iter().filter(|path| *path != self.path));
        paths.iter().find_map(|path| holds(path, generation, bytes))
    }

    /// Files beside the path that are called like it, with a dot or a hyphen and something that ends with a digit behind.
    fn beside(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let other = entry.file_name().to_string_lossy().into_owned();
            let behind = other.strip_prefix(&name).filter(|rest| rest.starts_with(['.', '-']));
            if behind.is_some_and(|rest| rest.ends_with(|last: char| last.is_ascii_digit())) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

impl Open {
    /// A file from `place` on.
    fn at(file: File, place: &Place) -> io::Result<Self> {
        let begins = place.offset.cast_unsigned();
        let mut head = vec![0; usize::try_from(begins).unwrap_or(HEAD_BYTES).min(HEAD_BYTES)];
        file.read_exact_at(&mut head, 0)?;
        let generation = place.file.clone().in_file(&file.metadata()?).with_head(&head);
        let (unfinished, moved) = (Vec::new(), None);
        Ok(Self { file, generation, head, read_to: begins, line_begins: begins, line: place.line, unfinished, moved })
    }

    /// Takes the next bytes and sends the lines that end in them.
    fn take(&mut self, bytes: &[u8], lines: &mpsc::Sender<Line>) -> Result<(), Gone> {
        self.moved = None;
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        if room > 0 && self.read_to == self.head.len() as u64 {
            self.head.extend_from_slice(&bytes[..room]);
            self.generation = self.generation.clone().with_head(&self.head);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.read_to += part.len() as u64;
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LINE_BYTES - self.unfinished.len();
            self.unfinished.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.send(lines)?;
            }
        }
        Ok(())
    }

    /// Sends what was written without an end.
    fn finish(&mut self, lines: &mpsc::Sender<Line>) -> Result<(), Gone> {
        if self.unfinished.is_empty() { Ok(()) } else { self.send(lines) }
    }

    fn send(&mut self, lines: &mpsc::Sender<Line>) -> Result<(), Gone> {
        let place = Place { file: self.generation.clone(), offset: self.line_begins.cast_signed(), line: self.line };
        let text = std::mem::take(&mut self.unfinished);
        (self.line_begins, self.line) = (self.read_to, self.line + 1);
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        lines.blocking_send(Line { place, text }).map_err(|_| Gone)
    }
}

impl Generation {
    /// The same, which is in this file now.
    fn in_file(self, metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), ..self }
    }

    fn with_head(self, head: &[u8]) -> Self {
        Self { head_bytes: head.len(), head: crc32fast::hash(head), ..self }
    }
}

fn is_file(metadata: &Metadata, generation: &Generation) -> bool {
    (metadata.dev(), metadata.ino()) == (generation.device, generation.inode)
}

fn begins_with(file: &File, head: &[u8]) -> io::Result<bool> {
    let mut begins = vec![0; head.len()];
    Ok(file.read_at(&mut begins, 0)? == head.len() && begins == head)
}

/// Whether `file` begins as `generation` did.
fn has_head(file: &File, generation: &Generation) -> bool {
    let mut head = vec![0; generation.head_bytes];
    file.read_exact_at(&mut head, 0).is_ok() && crc32fast::hash(&head) == generation.head
}

/// The file at `path`, when it begins as `generation` did and has so many bytes.
fn holds(path: &Path, generation: &Generation, bytes: u64) -> Option<File> {
    let file = File::open(path).ok()?;
    let is_long = file.metadata().ok()?.len() >= bytes;
    (is_long && generation.head_bytes > 0 && has_head(&file, generation)).then_some(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn append(path: &Path, lines: &[&str]) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
    }

    /// What `logrotate` does with `copytruncate`, and a program that writes on.
    fn copy_and_truncate(path: &Path, next: &[&str]) {
        fs::copy(path, path.with_extension("log.1")).unwrap();
        File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        append(path, next);
    }

    /// The next lines: the number of the file that each is in, and what it says.
    async fn next(lines: &mut mpsc::Receiver<Line>, number: usize) -> Vec<(i64, String)> {
        let mut found = Vec::new();
        while found.len() < number {
            let line = tokio::time::timeout(PATIENCE, lines.recv()).await.expect("a line comes").unwrap();
            found.push((line.place.file.number, String::from_utf8(line.text).unwrap()));
        }
        found
    }

    fn all(lines: &[(i64, &str)]) -> Vec<(i64, String)> {
        lines.iter().map(|(file, text)| (*file, (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_file_that_is_copied_and_truncated_is_read_to_its_end_in_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.log");
        append(&path, &["one", "two", "three"]);
        let mut lines = follow(path.clone(), Vec::new(), None, 1).unwrap();
        assert_eq!(next(&mut lines, 1).await, all(&[(1, "one")]));
        // It has read three lines and waits until somebody takes the second: these it has not seen.
        append(&path, &["four", "five"]);
        copy_and_truncate(&path, &["another file", "of two lines"]);
        let rest = [(1, "two"), (1, "three"), (1, "four"), (1, "five"), (2, "another file"), (2, "of two lines")];
        assert_eq!(next(&mut lines, 6).await, all(&rest));
    }

    #[tokio::test]
    async fn a_file_that_was_truncated_while_nobody_followed_is_found_in_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.log");
        append(&path, &["one", "two"]);
        let mut lines = follow(path.clone(), Vec::new(), None, 10).unwrap();
        lines.recv().await.unwrap();
        let second = lines.recv().await.unwrap();
        drop(lines);
        append(&path, &["three"]);
        copy_and_truncate(&path, &["another file"]);
        let known = vec![second.place.file.clone()];
        let mut lines = follow(path, known, Some(second.place), 10).unwrap();
        assert_eq!(next(&mut lines, 3).await, all(&[(1, "two"), (1, "three"), (2, "another file")]));
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_is_read_to_its_end_and_a_line_waits_for_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.log");
        append(&path, &["one"]);
        write!(File::options().append(true).open(&path).unwrap(), "tw").unwrap();
        let mut lines = follow(path.clone(), Vec::new(), None, 1).unwrap();
        assert_eq!(next(&mut lines, 1).await, all(&[(1, "one")]));
        append(&path, &["o"]);
        let moved = path.with_extension("log.1");
        fs::rename(&path, &moved).unwrap();
        append(&moved, &["three"]);
        append(&path, &["another file"]);
        assert_eq!(next(&mut lines, 3).await, all(&[(1, "two"), (1, "three"), (2, "another file")]));
    }
}
