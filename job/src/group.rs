//! The processes of a command.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::fs;

/// A process group. Dropping it kills all of it.
pub(crate) struct Group {
    leader: Option<Pid>,
    /// Where it is noted who leads it, for whoever comes after this process was killed.
    note: PathBuf,
}

impl Group {
    pub(crate) async fn begin(leader: Option<u32>, note: PathBuf) -> Self {
        let leader = leader.and_then(|leader| i32::try_from(leader).ok());
        let group = Self { leader: leader.and_then(Pid::from_raw), note };
        if let Some(leader) = leader {
            let text = format!("{leader} {}", started(leader).await.unwrap_or_default());
            if let Err(error) = write(&group.note, text).await {
                tracing::warn!(%error, note = %group.note.display(), "a command would outlive this process if that was killed");
            }
        }
        group
    }

    /// Kills the group that the note at `path` is about. A number that is another process's by now is left alone.
    pub(crate) async fn kill_noted(path: &Path) {
        let Ok(text) = fs::read_to_string(path).await else { return };
        let (leader, begun) = text.split_once(' ').unwrap_or((&text, ""));
        let Ok(leader) = leader.parse::<i32>() else { return };
        // A group may be there without its leader. As long as it is, its number is nobody else's.
        if started(leader).await.is_none_or(|now| now == begun) {
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
        // Nor does a note matter that is about nobody.
        let _ = std::fs::remove_file(&self.note);
    }
}

async fn write(path: &Path, text: String) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await?;
    }
    fs::write(path, text).await
}

/// When a process was started, as its machine counts; `None` when there is none of this number.
async fn started(process: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).await.ok()?;
    // Behind the name, which may have blanks and is in parentheses, the time is the twentieth field.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}
