//! Folders and files that are their owner's alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::layout::{LOCK, LOG_FILE, READ_MODELS};
use crate::replica::ReplicaFolder;

/// What group and others may do.
const OTHERS: u32 = 0o077;
/// Set on folders that many share, such as /tmp.
const STICKY: u32 = 0o1000;
const OWNERS_FOLDER: u32 = 0o700;
const OWNERS_FILE: u32 = 0o600;

/// Makes the folder at `path` for its owner alone, when there is none. One that others may look into is closed to them when
/// it is empty or has an installation in it, with the files of that; of any other folder it is only said.
///
/// # Errors
/// When it cannot be made, or is no folder.
pub fn private_folder(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return DirBuilder::new().recursive(true).mode(OWNERS_FOLDER).create(path);
        }
        Err(error) => return Err(error),
    };
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let is_ours = path.join(LOG_FILE).exists() || path.join(READ_MODELS).exists() || is_empty(path)?;
    let closed = if is_ours && mode & STICKY == 0 { close(path) } else { Err(io::ErrorKind::PermissionDenied.into()) };
    if let Err(error) = closed {
        let path = path.display();
        tracing::warn!(%error, "other users of this machine can look into {path}; close it with: chmod 700 {path}");
    }
    Ok(())
}

/// Opens the file at `path` to be written, made for its owner alone when there is none.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(OWNERS_FILE).open(path)
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(path)?.next().is_none())
}

/// Takes from others what they may do with the folder, and with the log's files, the read models and the stores of replicas in
/// it.
fn close(path: &Path) -> io::Result<()> {
    take_from_others(path)?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == READ_MODELS || has_replicas(&entry.path()) {
            close_all(&entry.path())?;
        } else if name == LOCK || name.to_str().is_some_and(|name| name.starts_with(LOG_FILE)) {
            take_from_others(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether stores of a replica are in the folder at `path`: below the identity of the log that they are made from.
fn has_replicas(path: &Path) -> bool {
    let Ok(logs) = std::fs::read_dir(path) else { return false };
    logs.flatten().any(|log| log.path().join(ReplicaFolder::FIRST_LOCK).exists())
}

/// Takes it from others with all that is below, but for what links lead to.
fn close_all(path: &Path) -> io::Result<()> {
    take_from_others(path)?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            close_all(&entry.path())?;
        } else if kind.is_file() {
            take_from_others(&entry.path())?;
        }
    }
    Ok(())
}

fn take_from_others(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn folder(at: PathBuf, mode: u32) -> PathBuf {
        std::fs::create_dir(&at).unwrap();
        std::fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
        at
    }

    fn file(at: PathBuf) -> PathBuf {
        std::fs::write(&at, "x").unwrap();
        std::fs::set_permissions(&at, Permissions::from_mode(0o644)).unwrap();
        at
    }

    #[test]
    fn a_new_or_empty_folder_is_its_owners_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let new = scratch.path().join("a/b");
        private_folder(&new).unwrap();
        let empty = folder(scratch.path().join("empty"), 0o755);
        private_folder(&empty).unwrap();
        assert_eq!((mode(&new), mode(&empty)), (0o700, 0o700));
        assert!(private_folder(&file(scratch.path().join("file"))).is_err());
    }

    #[test]
    fn an_installation_is_closed_with_its_files() {
        let scratch = tempfile::tempdir().unwrap();
        let data = folder(scratch.path().join("data"), 0o755);
        let models = folder(data.join(READ_MODELS), 0o755);
        let files =
            [file(data.join(LOG_FILE)), file(data.join(format!("{LOG_FILE}-wal"))), file(models.join("store.db"))];
        let replica = folder(folder(data.join("search"), 0o755).join("a-log"), 0o755);
        let store = folder(replica.join("1"), 0o755);
        let of_replica = [file(replica.join(ReplicaFolder::FIRST_LOCK)), file(store.join("meta.json"))];
        let lock = file(data.join(LOCK));
        let other = file(data.join("notes.txt"));
        private_folder(&data).unwrap();
        assert_eq!((mode(&data), mode(&models)), (0o700, 0o700));
        assert_eq!(files.map(|file| mode(&file)), [0o600; 3]);
        assert_eq!((mode(&replica), mode(&store), mode(&lock)), (0o700, 0o700, 0o600));
        assert_eq!(of_replica.map(|file| mode(&file)), [0o600; 2]);
        assert_eq!(mode(&other), 0o644);
    }

    #[test]
    fn the_folders_of_others_are_left_as_they_are() {
        let scratch = tempfile::tempdir().unwrap();
        let home = folder(scratch.path().join("home"), 0o755);
        file(home.join("notes.txt"));
        let shared = folder(scratch.path().join("shared"), 0o1777);
        for (path, expected) in [(home, 0o755), (shared, 0o1777)] {
            private_folder(&path).unwrap();
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}
