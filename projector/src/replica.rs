//! This process's own copy of the search index.
//!
//! What is searched lies beside who searches: every process that answers queries reads the log by itself into a folder
//! of its own, and needs nothing of the others'. What they share is what they are to have: the generations of `search`
//! stand in the database with those of all read models, so that an operator asks for a rebuild, and goes back, in one
//! way. One process at a time, under a lease, writes down there how far it has come, and switches.

mod lead;
mod tail;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_search::Serving;
use balcony_store::{Database, Generation, GenerationState, ListedGeneration, ReadModel};
use tokio::sync::watch;

use self::lead::Leader;
use self::tail::Tail;
use crate::keeper::Plan;
use crate::observer::{Board, Observer};
use crate::worker::told_to;

/// The name that operators know it by.
pub const SEARCH: &str = "search";

/// What of it stands in the database: how far it has come, and what is parked.
pub const SEARCH_MODEL: ReadModel = ReadModel { name: SEARCH, version: 1, schema: "" };

/// How often it is looked how far the indexes have come, which is then written down.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the generations are looked at when nobody tells of a change.
const PLAN_EVERY: Duration = Duration::from_secs(1);
/// Folders of processes on one machine that share one data folder.
const MOST_FOLDERS: usize = 64;

/// A folder for the indexes of one process, held until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _held: File,
}

/// Sees to it that this process has the indexes that it is to have, and which of them is searched.
pub(crate) struct Replica {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) topics: [Arc<str>; 1],
    pub(crate) folder: Folder,
    pub(crate) serving: Serving,
    pub(crate) board: Board,
}

impl Folder {
    /// The first folder below `directory` that no process holds.
    ///
    /// # Errors
    /// What the system says, or that all are held.
    pub fn hold(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        for number in 1..=MOST_FOLDERS {
            if let Some(folder) = Self::try_hold(directory, number)? {
                return Ok(folder);
            }
        }
        Err(std::io::Error::other(format!("{MOST_FOLDERS} processes have indexes in {} already", directory.display())))
    }

    /// The first folder of all, unless another process holds it.
    ///
    /// # Errors
    /// What the system says.
    pub fn hold_first(directory: &Path) -> std::io::Result<Option<Self>> {
        std::fs::create_dir_all(directory)?;
        Self::try_hold(directory, 1)
    }

    fn try_hold(directory: &Path, number: usize) -> std::io::Result<Option<Self>> {
        let lock = directory.join(format!("{number}.lock"));
        let held = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
        match held.try_lock() {
            Ok(()) => Ok(Some(Self { path: directory.join(number.to_string()), _held: held })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn of(&self, generation: &Generation) -> PathBuf {
        self.path.join(generation.namespace())
    }

    /// Removes the indexes of generations that are not among the namespaces `known`.
    fn sweep(&self, known: &[String]) -> std::io::Result<()> {
        let entries = match std::fs::read_dir(&self.path) {
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

impl Replica {
    /// Keeps until it is told to stop.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.database.progress().generation_ticks();
        let mut tails: BTreeMap<i64, Tail> = BTreeMap::new();
        let mut leader = Leader::new(self.database.clone());
        let mut served = None;
        let mut planned: Option<tokio::time::Instant> = None;
        // What failed before this program was started may be mended in it.
        let mut try_again = true;
        let mut live = None;
        while !*stop.borrow() {
            let is_due = planned.is_none_or(|at| at.elapsed() >= PLAN_EVERY) || changes.has_changed().unwrap_or(false);
            if is_due {
                changes.mark_unchanged();
                match Plan::make(&self.database, &SEARCH_MODEL, try_again).await {
                    Ok((plan, listed)) => {
                        try_again = false;
                        planned = Some(tokio::time::Instant::now());
                        live = plan.live;
                        self.follow(plan, &listed, served, &mut tails).await;
                        leader.stand(&tails).await;
                    }
                    Err(error) if error.is_transient() => self.board.live().waiting(&error),
                    Err(error) => self.board.live().stopped(&error.to_string()),
                }
            }
            self.choose(live, &tails, &mut served);
            if let Err(error) = leader.write_down(&tails).await {
                tracing::debug!(%error, "how far the search index has come could not be written down");
            }
            tokio::select! {
                // Told or not, it is looked at.
                _ = tokio::time::timeout(LOOK_EVERY, changes.changed()) => {}
                () = told_to(&mut stop) => {}
            }
        }
        for tail in tails.into_values() {
            tail.stop().await;
        }
    }

    /// Begins and ends the indexes that are wanted or not any more. The one that is searched stays until another is.
    async fn follow(
        &self,
        plan: Plan,
        listed: &[ListedGeneration],
        served: Option<i64>,
        tails: &mut BTreeMap<i64, Tail>,
    ) {
        let mut wanted: Vec<&ListedGeneration> = listed.iter().collect();
        wanted.retain(|listed| {
            let number = listed.generation.number;
            let is_built = plan.build.as_ref().is_some_and(|build| build.number == number);
            plan.live == Some(number) || is_built || served == Some(number) && tails.contains_key(&number)
        });
        let is_wanted = |number: &i64| wanted.iter().any(|listed| listed.generation.number == *number);
        let unwanted: Vec<Tail> = tails
            .extract_if(.., |number, _| !is_wanted(number) && served != Some(*number))
            .map(|(_, tail)| tail)
            .collect();
        for tail in unwanted {
            tail.stop().await;
        }
        let live = listed.iter().find(|listed| listed.state == GenerationState::Live).map(|live| &live.generation);
        for listed in wanted {
            let number = listed.generation.number;
            let tail = tails.entry(number).or_insert_with(|| {
                let observer = Observer::new(SEARCH, number);
                let before = live.filter(|live| **live != listed.generation).cloned();
                Tail::start(self, listed, before, self.folder.of(&listed.generation), observer)
            });
            tail.is_built = listed.state.is_unfinished();
        }
        let mut known: Vec<String> = listed.iter().map(|listed| listed.generation.namespace()).collect();
        known.extend(tails.values().map(|tail| tail.generation.namespace()));
        if let Err(error) = self.folder.sweep(&known) {
            tracing::warn!(%error, "search indexes that are not needed any more could not be removed");
        }

        let shown = plan.live.or(plan.build.as_ref().map(|build| build.number)).and_then(|number| tails.get(&number));
        let failure = plan.rebuild.as_ref().filter(|_| shown.is_none()).and_then(|rebuild| rebuild.error.clone());
        self.board.show(shown.map(|tail| &tail.observer), plan.rebuild);
        if let Some(complaint) = plan.complaint.or(failure) {
            self.board.live().stopped(&complaint);
            if served.is_none() {
                self.serving.close(complaint);
            }
        }
    }

    /// Lets the live index be searched once it has caught up, and until then the one before.
    fn choose(&self, live: Option<i64>, tails: &BTreeMap<i64, Tail>, served: &mut Option<i64>) {
        let ready = live.and_then(|number| tails.get(&number)).and_then(|tail| Some((tail, tail.caught_up()?)));
        if let Some((tail, index)) = ready {
            // A tail that was started again has opened its index anew, and only that one moves on.
            if !self.serving.index().is_ok_and(|current| current.is_same(&index)) {
                *served = Some(tail.generation.number);
                self.serving.serve(index);
            }
            return;
        }
        let current = served.and_then(|number| tails.get(&number)).and_then(Tail::caught_up);
        if current.is_none() {
            *served = None;
            // A generation that is built without one before it, or the live one anew.
            let coming = live.and_then(|number| tails.get(&number)).or_else(|| tails.values().next_back());
            if let Some(coming) = coming {
                self.serving.close(coming.note());
            }
        }
    }
}
