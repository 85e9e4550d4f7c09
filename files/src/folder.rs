//! What is new in a folder.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files that are looked at in one folder, and folders within each other.
const MOST_FILES: usize = 100_000;
const DEEPEST: usize = 16;

/// A folder that is looked at from time to time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The state of each file at the last look.
    before: HashMap<PathBuf, String>,
    /// The states that were told.
    told: HashMap<PathBuf, String>,
}

/// A file that is new, or was changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it is in the folder.
    pub path: PathBuf,
    /// Its length in bytes and when it was changed, in nanoseconds since 1970: another text for each state.
    pub state: String,
}

impl Folder {
    /// The folder at `path`, of which nothing is known yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), before: HashMap::new(), told: HashMap::new() }
    }

    /// The files, in folders within it, too, that are in the state that they were in at the look before, each state once: one
    /// that changes between two looks is still being written. Hidden files, files of more than 16 folders within each other
    /// and what is beyond 100,000 files are left out. It blocks.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn look(&mut self) -> io::Result<Vec<Found>> {
        let now = files(&self.path)?;
        self.told.retain(|path, _| now.contains_key(path));
        let mut found = Vec::new();
        for (path, state) in &now {
            let rests = self.before.get(path) == Some(state);
            if rests && self.told.get(path) != Some(state) {
                self.told.insert(path.clone(), state.clone());
                let inside = path.strip_prefix(&self.path).unwrap_or(path);
                found.push(Found { path: inside.to_owned(), state: state.clone() });
            }
        }
        self.before = now;
        found.sort();
        Ok(found)
    }
}

/// The files below `folder`, and the state of each.
fn files(folder: &Path) -> io::Result<HashMap<PathBuf, String>> {
    let mut files = HashMap::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in folder.read_dir()? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") || files.len() + folders.len() > MOST_FILES {
                continue;
            }
            if kind.is_dir() && depth < DEEPEST {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                let about = entry.metadata()?;
                let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                files.insert(entry.path(), format!("{} {}", about.len(), changed.as_nanos()));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_state_of_a_file_is_told_once_when_two_looks_see_it() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        fs::create_dir(place.path().join("day=1")).unwrap();
        let mut folder = Folder::new(place.path());
        let mut look = || folder.look().unwrap().into_iter().map(|found| found.path).collect::<Vec<_>>();
        write("day=1/orders", "1");
        write(".hidden", "1");
        assert!(look().is_empty());
        write("day=1/orders", "12");
        write("other", "1");
        assert!(look().is_empty());
        assert_eq!(look(), [Path::new("day=1/orders"), Path::new("other")]);
        assert!(look().is_empty());
        write("other", "12");
        assert!(look().is_empty());
        assert_eq!(look(), [Path::new("other")]);
        fs::remove_file(place.path().join("other")).unwrap();
        assert!(look().is_empty());
        write("other", "12");
        assert_eq!((look(), look()), (Vec::new(), vec![PathBuf::from("other")]));
    }
}
