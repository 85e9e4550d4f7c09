//! What one process asks of another that runs the same embedded installation.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::fs;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::installation::private_folder;
use crate::intake::IntakeError;

/// Errands for the process that holds an embedded installation, and so alone may append to its log: a command asks for
/// something by a file in the data folder, and is answered by another. What is asked is done **at least once**: it is done again
/// when whoever did it was killed before it could say so. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Errands {
    folder: PathBuf,
}

/// Why an errand is not known to be done.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// Nobody has answered so far. It stays asked for.
    #[error("nobody who would do it runs; it is done once somebody does")]
    Unanswered,
    /// The file with the question or the answer.
    #[error("the data folder: {0}")]
    Folder(#[from] io::Error),
    /// The answer is from another version of the program.
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// How often both look.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const ASKED: &str = "json";
const ANSWERED: &str = "done";

impl Errands {
    /// The errands called `name` of the installation in `data_dir`: the name of a folder.
    pub fn new(data_dir: &Path, name: &str) -> Self {
        Self { folder: data_dir.join(name) }
    }

    /// Asks for `what`, and gives the answer, for which it waits up to `patience`.
    ///
    /// # Errors
    /// See [`ErrandError`].
    pub async fn ask<A: DeserializeOwned>(&self, what: &impl Serialize, patience: Duration) -> Result<A, ErrandError> {
        private_folder(&self.folder)?;
        let errand = self.folder.join(Uuid::now_v7().to_string());
        write(&errand.with_extension(ASKED), what).await?;
        let answer = errand.with_extension(ANSWERED);
        let answered = async {
            while !fs::try_exists(&answer).await? {
                sleep(LOOK_EVERY).await;
            }
            fs::read(&answer).await
        };
        let text = timeout(patience, answered).await.map_err(|_| ErrandError::Unanswered)??;
        fs::remove_file(&answer).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Does what others ask for with `work`, which gives the answer, one after the other, until it fails. What cannot be read is
    /// put away. As an [intake](crate::Projector::start_intake) it is begun again.
    ///
    /// # Errors
    /// What `work` gives, or that the folder cannot be read.
    pub async fn serve<Q, A, W>(&self, work: impl Fn(Q) -> W) -> Result<(), IntakeError>
    where
        Q: DeserializeOwned,
        A: Serialize,
        W: Future<Output = Result<A, IntakeError>>,
    {
        let outside = |error: io::Error| IntakeError::Outside(format!("{}: {error}", self.folder.display()));
        private_folder(&self.folder).map_err(outside)?;
        loop {
            let mut entries = fs::read_dir(&self.folder).await.map_err(outside)?;
            while let Some(errand) = entries.next_entry().await.map_err(outside)?.map(|entry| entry.path()) {
                if errand.extension().is_none_or(|kind| kind != ASKED) {
                    continue;
                }
                match serde_json::from_slice(&fs::read(&errand).await.map_err(outside)?) {
                    Ok(what) => {
                        let answer = work(what).await?;
                        write(&errand.with_extension(ANSWERED), &answer).await.map_err(outside)?;
                    }
                    Err(error) => tracing::warn!(errand = %errand.display(), %error, "nobody knows what this asks for"),
                }
                fs::remove_file(&errand).await.map_err(outside)?;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Writes a file that is there whole once it has its name.
async fn write(path: &Path, what: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(what)?).await?;
    fs::rename(&new, path).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_asked_is_done_and_answered_and_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let errands = Errands::new(place.path(), "sums");
        let asked = async {
            let (one, other) = tokio::join!(errands.ask(&[1, 2], PATIENCE), errands.ask(&[3, 4], PATIENCE));
            assert_eq!((one.unwrap(), other.unwrap()), (3, 7));
        };
        let serving = errands.serve(async |numbers: Vec<u32>| Ok(numbers.into_iter().sum::<u32>()));
        tokio::select! {
            () = asked => {}
            ended = serving => panic!("{ended:?}"),
        }
        assert_eq!(std::fs::read_dir(&errands.folder).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_nobody_did_is_done_later_and_what_failed_again() {
        let place = tempfile::tempdir().unwrap();
        let errands = Errands::new(place.path(), "sums");
        let unanswered = errands.ask::<u32>(&"one", Duration::ZERO).await;
        assert!(matches!(unanswered, Err(ErrandError::Unanswered)));
        std::fs::write(errands.folder.join("broken.json"), "{").unwrap();

        let tries = AtomicU32::new(0);
        let work = async |what: String| {
            assert_eq!(what, "one");
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 => Err(IntakeError::Outside("not today".to_owned())),
                _ => Ok(()),
            }
        };
        assert!(errands.serve(work).await.is_err());
        let done = async {
            while !std::fs::read_dir(&errands.folder)
                .unwrap()
                .all(|entry| entry.unwrap().path().extension().is_some_and(|kind| kind == ANSWERED))
            {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = done => {}
            ended = errands.serve(work) => panic!("{ended:?}"),
        }
        assert_eq!(tries.into_inner(), 2);
    }
}
