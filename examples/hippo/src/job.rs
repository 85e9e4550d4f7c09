//! A command that runs for a message: in a process group of its own, of which nothing is left when it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use uuid::Uuid;

use crate::config::Step;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Why it failed; `None` when it did not.
    pub(crate) failure: Option<String>,
    /// What it printed on standard output.
    pub(crate) stdout: Vec<u8>,
    /// The end of what it printed on standard error.
    pub(crate) stderr: Vec<u8>,
    /// How long it took.
    pub(crate) duration: Duration,
}

/// The most that a command may print on standard output, in bytes: a message has to fit in the log.
const MOST_PRINTED: usize = 512 << 10;
/// How much is kept of its standard error, in bytes.
const KEPT: usize = 16 << 10;
/// How long pipes are read after everything that had them was killed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What commands see of hippo's own environment, which also has secrets.
const ENVIRONMENT: [&str; 8] = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER"];

/// Runs the command of `step` in `folder` with `input` on its standard input and `environment` in its environment. What
/// runs under `id` on this machine, left by a hippo that was killed, is killed first; `notes` says what that is.
///
/// Dropping the future kills the command with everything that it has started.
pub(crate) async fn run(
    step: &Step,
    folder: &Path,
    notes: &Path,
    id: Uuid,
    environment: Vec<(String, String)>,
    input: &[u8],
) -> Ended {
    let begun = Instant::now();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let failure =
        start_and_wait(step, folder, notes.join(id.to_string()), environment, input, &mut stdout, &mut stderr);
    let failure = failure.await.err();
    Ended { failure, stdout, stderr, duration: begun.elapsed() }
}

async fn start_and_wait(
    step: &Step,
    folder: &Path,
    note: PathBuf,
    environment: Vec<(String, String)>,
    input: &[u8],
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> Result<(), String> {
    Group::kill_noted(&note);
    let program = &step.command[0];
    // A path is taken from the configuration's folder, a name is searched for.
    let path = if program.contains('/') { folder.join(program) } else { program.into() };
    let mut command = Command::new(path);
    command.args(&step.command[1..]).current_dir(folder).env_clear().process_group(0).kill_on_drop(true);
    command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = Group::begin(child.id(), note);

    let (mut stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let pipes = async {
        let feed = async {
            if let Some(stdin) = &mut stdin {
                // A command need not read what it is given.
                let _ = stdin.write_all(input).await;
            }
            drop(stdin);
            Ok(())
        };
        tokio::try_join!(feed, read(out, stdout, MOST_PRINTED, false), read(err, stderr, KEPT, true)).map(drop)
    };
    tokio::pin!(pipes);
    let late = tokio::time::sleep(step.timeout);
    tokio::pin!(late);
    let mut open = true;
    let ended = loop {
        tokio::select! {
            status = child.wait() => break match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(status.to_string()),
                Err(error) => Err(error.to_string()),
            },
            done = &mut pipes, if open => {
                open = false;
                if done.is_err() {
                    break done;
                }
            }
            () = &mut late => break Err(format!("it took longer than {:?}", step.timeout)),
        }
    };
    // Whatever it has left behind would write to nobody.
    drop(group);
    if open {
        let last_words = tokio::time::timeout(LAST_WORDS, &mut pipes).await;
        return ended.and(last_words.unwrap_or(Ok(())));
    }
    ended
}

/// Reads all of a pipe: no more than `most` bytes, or the last so many.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    most: usize,
    only_last: bool,
) -> Result<(), String> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0; 16 << 10];
    loop {
        // A pipe that cannot be read has ended.
        let length = pipe.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return Ok(());
        }
        into.extend_from_slice(&buffer[..length]);
        let over = into.len().saturating_sub(most);
        if over > 0 && !only_last {
            into.truncate(most);
            return Err(format!("it printed more than {most} bytes"));
        }
        into.drain(..over);
    }
}

/// The processes of a command. Dropping it kills them.
struct Group {
    leader: Option<Pid>,
    /// Where it is noted who they are, for whoever comes after a hippo that was killed.
    note: PathBuf,
}

impl Group {
    fn begin(leader: Option<u32>, note: PathBuf) -> Self {
        let leader = leader.and_then(|leader| Pid::from_raw(i32::try_from(leader).ok()?));
        if let Some(leader) = leader {
            let leader = leader.as_raw_nonzero().get();
            if let Err(error) = fs::write(&note, format!("{leader} {}", started(leader).unwrap_or_default())) {
                tracing::warn!(%error, note = %note.display(), "a job would outlive a hippo that is killed");
            }
        }
        Self { leader, note }
    }

    /// Kills what the note at `path` says, unless its number is another process's by now.
    fn kill_noted(path: &Path) {
        let Ok(text) = fs::read_to_string(path) else { return };
        let (leader, begun) = text.split_once(' ').unwrap_or((&text, ""));
        let Ok(leader) = leader.parse::<i32>() else { return };
        if started(leader).is_none_or(|now| now == begun) {
            drop(Self { leader: Pid::from_raw(leader), note: path.to_owned() });
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It is well when nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let _ = fs::remove_file(&self.note);
    }
}

/// When a process was started, as its machine counts; `None` when there is none of this number.
fn started(process: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may have blanks; the time is the twentieth field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}
