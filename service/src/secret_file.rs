//! Secrets that an installation makes for itself, each in a file of its data folder.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use balcony_projector::private_folder;

/// Bytes of a secret, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;
const OWNERS_FILE: u32 = 0o600;

/// A secret in a file: 32 random bytes in hexadecimal, which the file's owner alone may read.
pub(crate) struct SecretFile {
    /// What the file is called.
    pub(crate) name: &'static str,
    /// What another secret would end.
    pub(crate) ends: &'static str,
}

impl SecretFile {
    /// The secret in `data_dir`, made when there is none. A process that makes one at the same time wins or loses as a
    /// whole: the file appears complete.
    ///
    /// # Errors
    /// Says what of the folder cannot be read or written.
    pub(crate) fn made_in(&self, data_dir: &Path) -> anyhow::Result<String> {
        private_folder(data_dir).with_context(|| format!("DATA_DIR: {} cannot be made", data_dir.display()))?;
        let path = data_dir.join(self.name);
        if !path.exists() {
            let draft = data_dir.join(format!("{}.{}", self.name, std::process::id()));
            make(&draft, &path).with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
        }
        self.read_in(data_dir)
    }

    /// The secret in `data_dir`, closed to others if it was not.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub(crate) fn read_in(&self, data_dir: &Path) -> anyhow::Result<String> {
        let path = data_dir.join(self.name);
        let text = read(&path).with_context(|| format!("DATA_DIR: {} cannot be read", path.display()))?;
        let text = text.trim();
        if text.len() < 2 * SECRET_BYTES {
            bail!(
                "DATA_DIR: {} is damaged; remove it to have a new one made, which ends {}",
                path.display(),
                self.ends
            );
        }
        Ok(text.to_owned())
    }
}

fn make(draft: &Path, path: &Path) -> io::Result<()> {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(OWNERS_FILE).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match std::fs::hard_link(draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::remove_file(draft),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & !OWNERS_FILE & 0o777 != 0
        && let Err(error) = file.set_permissions(Permissions::from_mode(OWNERS_FILE))
    {
        let path = path.display();
        tracing::warn!(%error, "other users of this machine may read {path}; close it with: chmod 600 {path}");
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECRET: SecretFile = SecretFile { name: "secret", ends: "everything" };

    #[test]
    fn a_secret_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SECRET.read_in(folder.path()).is_err());
        let made = SECRET.made_in(folder.path()).unwrap();
        assert_eq!(made.len(), 64);
        assert_eq!(SECRET.made_in(folder.path()).unwrap(), made);
        let path = folder.path().join("secret");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(SECRET.read_in(folder.path()).unwrap(), made);
        assert_eq!(mode(), 0o600, "a copy that others could read");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(SECRET.made_in(other.path()).unwrap(), made);
        std::fs::write(&path, "short").unwrap();
        assert!(SECRET.made_in(folder.path()).unwrap_err().to_string().contains("which ends everything"));
    }
}
