//! Lines of a text as records.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use balcony_event_log::{Headers, Message};
use futures_util::stream::{self, TryStreamExt as _};
use uuid::Uuid;

use crate::{Application, Installation, Settings};

/// Lines that are appended at the same time.
const AT_ONCE: usize = 1_000;
/// The longest line, in bytes; a log takes little more.
const LINE_BYTES: u64 = 1 << 20;

/// A file, or standard input (`-`), whose lines are to be appended: the arguments of a command.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Lines {
    /// The file; - is standard input.
    file: PathBuf,
}

impl Lines {
    /// Appends them to what the program calls `topic` as [`append_lines`] does, and prints how many there were.
    ///
    /// # Errors
    /// As [`Installation::open`] and [`append_lines`].
    pub async fn append(&self, topic: &str, application: &Application, settings: &Settings) -> anyhow::Result<()> {
        let installation = Installation::open(application, settings).await?;
        let lines = append_lines(&installation, topic, &self.file).await?;
        writeln!(io::stdout(), "{lines} lines are added")?;
        Ok(())
    }
}

/// Appends each line of `file`, or of standard input (`-`), to the topic that the program calls `topic`, and says how many
/// lines there were. A record has its line, without the line's end, for its payload and no key; its `ce_id` is a UUID made
/// of the file's path, the line's number and its text, so a file that is appended again repeats ids. Lines of standard
/// input have new ids each time.
///
/// # Errors
/// When the file cannot be read, a line has more than 1 MiB, or the log does not take one. What came before it may be in
/// the log.
pub async fn append_lines(installation: &Installation, topic: &str, file: &Path) -> anyhow::Result<u64> {
    let topic = installation.topics.get(topic);
    let named = || file.display().to_string();
    let (mut input, source): (Box<dyn BufRead + Send>, String) = if file.as_os_str() == "-" {
        (Box::new(BufReader::new(io::stdin())), Uuid::now_v7().to_string())
    } else {
        let opened = File::open(file).with_context(named)?;
        (Box::new(BufReader::new(opened)), file.canonicalize().with_context(named)?.display().to_string())
    };
    let mut number = 0;
    loop {
        let lines = tokio::task::block_in_place(|| next_lines(&mut input)).with_context(named)?;
        if lines.is_empty() {
            return Ok(number);
        }
        let messages = lines.into_iter().map(|line| {
            number += 1;
            let name = [source.as_bytes(), b"\0", number.to_string().as_bytes(), b"\0", &line].concat();
            let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, &name).to_string();
            Ok(Message { key: Vec::new(), headers: Headers::from_iter([("ce_id", id)]), payload: line })
        });
        let append = async |message| installation.log.append(topic, message).await.map(drop);
        stream::iter(messages).try_for_each_concurrent(AT_ONCE, append).await?;
    }
}

/// Some lines; none at the end.
fn next_lines(input: &mut impl BufRead) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    while lines.len() < AT_ONCE {
        let mut line = Vec::new();
        input.take(LINE_BYTES + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        ensure!(line.len() as u64 <= LINE_BYTES, "a line has more than {LINE_BYTES} bytes");
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_end_and_within_bounds() {
        let mut text: &[u8] = b"one\n\ntwo";
        assert_eq!(next_lines(&mut text).unwrap(), [b"one".to_vec(), Vec::new(), b"two".to_vec()]);
        assert_eq!(next_lines(&mut text).unwrap(), Vec::<Vec<u8>>::new());
        let (most, more) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
        assert_eq!(next_lines(&mut format!("{most}\n").as_bytes()).unwrap().len(), 1);
        assert!(next_lines(&mut more.as_bytes()).is_err());
    }
}
