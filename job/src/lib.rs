//! Runs a command for a step, in whatever language it is written.
//!
//! A command is a process group of its own, of which **nothing is left when it ends**: by itself, by its time limit, by
//! printing too much, or because whoever waits for it is dropped. Where a program is killed that has commands running, a note
//! beside each says who they are, and the next run of the same job ends them first. *This crate knows nothing of messages:
//! a command gets bytes on its standard input and variables in its environment.*

mod environment;
mod group;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

pub use crate::environment::Environment;
use crate::group::Group;

/// A command that is to be run.
#[derive(Debug, Clone)]
pub struct Job<'j> {
    /// The program and its arguments. A program with a slash in it is a path that begins in `folder`; any other is searched
    /// for in `PATH`.
    pub command: &'j [String],
    /// Where it runs.
    pub folder: &'j Path,
    /// Its environment. Of this process's own it sees [`PASSED_ON`] alone, since there may be secrets in the rest.
    pub environment: Environment,
    /// How long it may take.
    pub timeout: Duration,
    /// A file that says who it is while it runs, in a folder that is made where it is missing. Two runs of one job have the same
    /// one.
    pub note: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why it failed, in a few words; `None` when its exit status is 0.
    pub failure: Option<String>,
    /// What it printed on standard output, whole when it did not fail.
    pub stdout: Vec<u8>,
    /// The end of what it printed on standard error: [`LAST_OF_STDERR`] bytes at the most.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub duration: Duration,
}

/// The variables of this process's environment that commands see.
pub const PASSED_ON: [&str; 8] = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER"];
/// The most that a command may print on standard output, in bytes: what it prints has to fit into a record of the log.
pub const MOST_PRINTED: usize = 512 << 10;
/// How much is kept of its standard error, in bytes.
pub const LAST_OF_STDERR: usize = 16 << 10;
/// How long pipes are read after everything that had them was killed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

impl Ended {
    /// The end of what was printed on standard output, 16 KiB at the most, as a text that every database takes.
    pub fn last_of_stdout(&self) -> String {
        last_text(&self.stdout)
    }

    /// The end of what was printed on standard error, as a text that every database takes.
    pub fn last_of_stderr(&self) -> String {
        last_text(&self.stderr)
    }
}

fn last_text(printed: &[u8]) -> String {
    String::from_utf8_lossy(&printed[printed.len().saturating_sub(LAST_OF_STDERR)..]).replace('\0', "\u{fffd}")
}

impl Job<'_> {
    /// Runs it with `input` on its standard input. What was left running of it by a process that was killed is killed first.
    /// Dropping the future kills it with everything that it has started.
    pub async fn run(self, input: &[u8]) -> Ended {
        let begun = Instant::now();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let failure = self.start_and_wait(input, &mut stdout, &mut stderr).await.err();
        Ended { failure, stdout, stderr, duration: begun.elapsed() }
    }

    async fn start_and_wait(self, input: &[u8], stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> Result<(), String> {
        Group::kill_noted(&self.note).await;
        let mut child = self.start()?;
        let group = Group::begin(child.id(), self.note).await;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command need not read what it is given.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let pipes = async { tokio::try_join!(feed, read(out, stdout, all_of), read(err, stderr, last_of)).map(drop) };
        tokio::pin!(pipes);
        let late = tokio::time::sleep(self.timeout);
        tokio::pin!(late);
        let mut open = true;
        let ended = loop {
            tokio::select! {
                status = child.wait() => break match status {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(status.to_string()),
                    Err(error) => Err(error.to_string()),
                },
                piped = &mut pipes, if open => {
                    open = false;
                    if piped.is_err() {
                        break piped;
                    }
                }
                () = &mut late => break Err(format!("it took longer than {:?}", self.timeout)),
            }
        };
        // Whatever it leaves behind would write to nobody.
        drop(group);
        if !open {
            return ended;
        }
        let last_words = tokio::time::timeout(LAST_WORDS, pipes).await;
        ended.and(last_words.unwrap_or(Ok(())))
    }

    fn start(&self) -> Result<Child, String> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err("there is no command".to_owned());
        };
        let path: PathBuf = if program.contains('/') { self.folder.join(program) } else { program.into() };
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let environment: Vec<(&str, OsString)> = passed_on.map(|(name, value)| (*name, value)).collect();
        let mut command = Command::new(path);
        command.args(arguments).current_dir(self.folder).env_clear().envs(environment);
        command.envs(self.environment.iter());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))
    }
}

/// Reads all of a pipe; `bound` has a look at what there is after each piece.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    bound: impl Fn(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut chunk = vec![0; CHUNK];
    loop {
        // A pipe that cannot be read has ended.
        let length = pipe.read(&mut chunk).await.unwrap_or(0);
        if length == 0 {
            return Ok(());
        }
        into.extend_from_slice(&chunk[..length]);
        bound(into)?;
    }
}

/// Refuses what is too much.
fn all_of(printed: &mut Vec<u8>) -> Result<(), String> {
    if printed.len() > MOST_PRINTED {
        printed.truncate(MOST_PRINTED);
        return Err(format!("it printed more than {MOST_PRINTED} bytes"));
    }
    Ok(())
}

/// Keeps the end.
fn last_of(printed: &mut Vec<u8>) -> Result<(), String> {
    printed.drain(..printed.len().saturating_sub(LAST_OF_STDERR));
    Ok(())
}
