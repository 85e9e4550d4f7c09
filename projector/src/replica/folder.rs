use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use balcony_store::Generation;

/// Where one process keeps the generations of a replica. A folder is held until it is dropped.
#[derive(Debug)]
pub struct ReplicaFolder {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    _lock: File,
}

/// Folders of processes on one machine that share one data folder.
const MOST_FOLDERS: usize = 64;

impl ReplicaFolder {
    /// The name of the file that whoever has the first folder holds.
    #[cfg(feature = "operations")]
    pub(crate) const FIRST_LOCK: &str = "1.lock";

    /// No folder, for a store in memory.
    pub fn in_memory() -> Self {
        Self { held: None }
    }

    /// The first folder below `directory` that no process holds.
    ///
    /// # Errors
    /// What the system says, or that all are held.
    pub fn hold(directory: &Path) -> std::io::Result<Self> {
        make(directory)?;
        for number in 1..=MOST_FOLDERS {
            if let Some(held) = try_hold(directory, number)? {
                return Ok(Self { held: Some(held) });
            }
        }
        Err(std::io::Error::other(format!("{MOST_FOLDERS} processes have folders in {} already", directory.display())))
    }

    /// The first folder of all, unless another process holds it.
    ///
    /// # Errors
    /// What the system says.
    pub fn hold_first(directory: &Path) -> std::io::Result<Option<Self>> {
        make(directory)?;
        Ok(try_hold(directory, 1)?.map(|held| Self { held: Some(held) }))
    }

    /// The folder of one generation.
    pub(crate) fn of(&self, generation: &Generation) -> Option<PathBuf> {
        self.held.as_ref().map(|held| held.path.join(generation.schema()))
    }

    /// Removes the folders of generations that are not among the schemas `known`.
    pub(crate) fn sweep(&self, known: &[String]) -> std::io::Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        let entries = match std::fs::read_dir(&held.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !known.iter().any(|known| entry.file_name().to_str() == Some(known)) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Makes the folder for its owner alone.
fn make(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn try_hold(directory: &Path, number: usize) -> std::io::Result<Option<Held>> {
    let lock = directory.join(format!("{number}.lock"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Held { path: directory.join(number.to_string()), _lock: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
