//! What the runtime promises a replica: a store of each node's own, in memory and in a file, with its positions in each
//! commit.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Headers, Message, Positions, Record, Topic};
use balcony_projector::{
    AnyReplica, Decode, Opened, Projector, Received, Replica, ReplicaError, ReplicaFolder, ReplicaPlace, ReplicaStore,
    Serving, State, discard,
};
use balcony_store::{BuildOptions, Database, Generation, GenerationState, ReadModel, Scratch};
use tempfile::TempDir;
use tokio::time::Instant;

/// A word, and how often it was said.
struct Word(String);

impl Decode for Word {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        match std::str::from_utf8(&record.payload).map_err(|error| error.to_string())? {
            "broken" => Err("it is broken".to_owned()),
            word => Ok(Some(Self(word.to_owned()))),
        }
    }
}

type Counts = Arc<Mutex<BTreeMap<String, i64>>>;

/// Counts words; in a file where there is a folder.
#[derive(Clone)]
struct Words {
    model: ReadModel,
    /// Whether it only wants what is new.
    from_now: bool,
    /// The commits that fail before they are kept.
    failing: Arc<Mutex<usize>>,
}

struct Counted {
    file: Option<PathBuf>,
    positions: Positions,
    uncommitted: BTreeMap<String, i64>,
    counts: Counts,
    failing: Arc<Mutex<usize>>,
}

impl Words {
    fn new() -> Self {
        let model = ReadModel::new("words", 1, ["words"], "");
        Self { model, from_now: false, failing: Arc::default() }
    }
}

impl Replica for Words {
    type Event = Word;
    type Store = Counted;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    fn open(&self, place: &ReplicaPlace<'_>) -> Result<Opened<Counted>, ReplicaError> {
        let mut counted = Counted {
            file: place.directory.map(|directory| directory.join("counts")),
            positions: if self.from_now { place.ends.clone() } else { Positions::new() },
            uncommitted: BTreeMap::new(),
            counts: Counts::default(),
            failing: self.failing.clone(),
        };
        let Some(file) = &counted.file else { return Ok(Opened { store: counted, lost: None }) };
        std::fs::create_dir_all(file.parent().unwrap()).map_err(ReplicaError::new)?;
        let lost = match std::fs::read_to_string(file) {
            Err(_) => None,
            Ok(text) => match text.split_once('\n') {
                Some((positions, counts)) => {
                    counted.positions = Positions::from_json(positions).unwrap();
                    let counts = counts.lines().map(|line| line.split_once(' ').unwrap());
                    let counts = counts.map(|(word, count)| (word.to_owned(), count.parse().unwrap())).collect();
                    *counted.counts.lock().unwrap() = counts;
                    None
                }
                None => Some("its file is damaged".to_owned()),
            },
        };
        Ok(Opened { store: counted, lost })
    }
}

impl ReplicaStore for Counted {
    type Event = Word;
    type View = Counts;

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn view(&self) -> Counts {
        self.counts.clone()
    }

    fn apply(&mut self, events: &[Received<Word>]) -> Result<(), ReplicaError> {
        for word in events {
            *self.uncommitted.entry(word.0.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), ReplicaError> {
        {
            let mut failing = self.failing.lock().unwrap();
            if *failing > 0 {
                *failing -= 1;
                return Err(ReplicaError::new("as it was asked to"));
            }
        }
        let mut counts = self.counts.lock().unwrap();
        for (word, count) in std::mem::take(&mut self.uncommitted) {
            *counts.entry(word).or_default() += count;
        }
        self.positions = positions.clone();
        if let Some(file) = &self.file {
            let lines: String = counts.iter().map(|(word, count)| format!("{word} {count}\n")).collect();
            let draft = file.with_extension("draft");
            std::fs::write(&draft, format!("{}\n{lines}", positions.to_json())).map_err(ReplicaError::new)?;
            std::fs::rename(draft, file).map_err(ReplicaError::new)?;
        }
        Ok(())
    }
}

struct World {
    log: Arc<MemoryLog>,
    database: Database,
    _scratch: Scratch,
    folder: TempDir,
    topics: [Arc<str>; 1],
}

const PATIENCE: Duration = Duration::from_secs(30);

impl World {
    async fn new() -> Self {
        let topic = Topic { name: "words".into(), partitions: 3, replication: 1, retention: None };
        let log = Arc::new(MemoryLog::new(&[topic], Clock::at(std::time::SystemTime::now())));
        let (scratch, folder) = (Scratch::sqlite_in_memory().unwrap(), tempfile::tempdir().unwrap());
        let database = Database::open(scratch.settings()).await.unwrap();
        Self { log, database, _scratch: scratch, folder, topics: ["words".into()] }
    }

    fn database(&self) -> &Database {
        &self.database
    }

    async fn say(&self, words: &[&str]) {
        for word in words {
            let key = word.split_once(':').map_or(*word, |(key, _)| key);
            let word = word.split_once(':').map_or(*word, |(_, word)| word);
            let message = Message { key: key.into(), headers: Headers::new(), payload: word.into() };
            self.log.append("words", message).await.unwrap();
        }
    }

    fn start(&self, words: &Words, folder: ReplicaFolder) -> (Projector, Serving<Counts>) {
        let serving = Serving::default();
        let mut projector = Projector::new(self.log.clone(), self.database().clone(), "test.");
        projector.start_replica(AnyReplica::serving(words.clone(), serving.clone()), folder);
        (projector, serving)
    }

    fn on_disk(&self) -> ReplicaFolder {
        ReplicaFolder::hold(self.folder.path()).unwrap()
    }

    /// What is read once everything in the log has been taken in.
    async fn counts(&self, serving: &Serving<Counts>) -> Vec<(String, i64)> {
        let ends = self.log.ends(&self.topics).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        assert_eq!(serving.wait_for(&ends, deadline).await, Ok(true));
        let counts = serving.view().unwrap();
        let counts = counts.lock().unwrap();
        counts.iter().map(|(word, count)| (word.clone(), *count)).collect()
    }

    async fn generations(&self) -> Vec<(i64, GenerationState)> {
        let listed = self.database().generations(Some("words")).await.unwrap();
        listed.into_iter().map(|listed| (listed.generation.number, listed.state)).collect()
    }

    async fn generation(&self, number: i64) -> Generation {
        let listed = self.database().generations(Some("words")).await.unwrap();
        listed.into_iter().find(|listed| listed.generation.number == number).unwrap().generation
    }

    async fn checkpoints(&self, number: i64) -> Positions {
        let generation = self.generation(number).await;
        self.database().look_at(&generation).await.unwrap().checkpoints().await.unwrap()
    }
}

fn pairs(counts: &[(&str, i64)]) -> Vec<(String, i64)> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_in_memory_reads_the_log_at_every_start_and_is_told_of_what_comes() {
    let world = World::new().await;
    world.say(&["a", "b", "a", "c"]).await;
    let (projector, serving) = world.start(&Words::new(), ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 2), ("b", 1), ("c", 1)]));
    world.say(&["a", "d"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 3), ("b", 1), ("c", 1), ("d", 1)]));
    // How far it has come is known to everybody.
    let ends = world.log.ends(&world.topics).await.unwrap();
    eventually("it is written down", PATIENCE, async || (world.checkpoints(1).await == ends).then_some(())).await;
    projector.stop().await;

    let (projector, serving) = world.start(&Words::new(), ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 3), ("b", 1), ("c", 1), ("d", 1)]));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_may_begin_at_the_logs_end() {
    let world = World::new().await;
    world.say(&["a", "b"]).await;
    let (projector, serving) = world.start(&Words { from_now: true, ..Words::new() }, ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, pairs(&[]));
    world.say(&["b", "c"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("b", 1), ("c", 1)]));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_on_disk_goes_on_from_its_last_commit_and_takes_nothing_twice() {
    let world = World::new().await;
    let words = Words::new();
    let (projector, serving) = world.start(&words, world.on_disk());
    world.say(&["a", "b", "a"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 2), ("b", 1)]));
    // Commits that fail are made again by a store that was opened anew.
    *words.failing.lock().unwrap() = 2;
    world.say(&["a", "c"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 3), ("b", 1), ("c", 1)]));
    assert_eq!(*words.failing.lock().unwrap(), 0);
    // A crash: nothing is stopped in order.
    drop(projector);
    world.say(&["c"]).await;
    let (projector, serving) = world.start(&words, world.on_disk());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 3), ("b", 1), ("c", 2)]));
    projector.stop().await;
}

/// As on a disk that is full: what is there is read on, and how far that has come is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_commit_goes_on_answering_from_what_it_has_and_says_so() {
    let world = World::new().await;
    let words = Words::new();
    let (projector, serving) = world.start(&words, world.on_disk());
    world.say(&["a"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    *words.failing.lock().unwrap() = usize::MAX;
    world.say(&["b"]).await;
    let error = eventually("it was tried again and again", PATIENCE, async || {
        assert!(serving.view().is_ok(), "readers go on");
        let tried = usize::MAX - *words.failing.lock().unwrap();
        let step = projector.observe()().into_iter().find(|step| step.name == "words")?;
        step.last_error.filter(|_| tried >= 3)
    })
    .await;
    assert!(error.contains("as it was asked to"), "{error}");
    let ends = world.log.ends(&world.topics).await.unwrap();
    assert_eq!(serving.wait_for(&ends, Instant::now()).await, Ok(false));
    assert_eq!(*serving.view().unwrap().lock().unwrap(), BTreeMap::from([("a".to_owned(), 1)]));
    *words.failing.lock().unwrap() = 0;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1), ("b", 1)]));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_parked_with_what_follows_of_its_key_on_every_node_alike() {
    let world = World::new().await;
    world.say(&["k:a", "k:broken", "k:b", "c"]).await;
    let words = Words::new();
    let (first, first_serving) = world.start(&words, world.on_disk());
    let (second, second_serving) = world.start(&words, world.on_disk());
    for serving in [&first_serving, &second_serving] {
        assert_eq!(world.counts(serving).await, pairs(&[("a", 1), ("c", 1)]));
    }
    let generation = world.generation(1).await;
    let parked = world.database().look_at(&generation).await.unwrap().parked().await.unwrap();
    let parked: Vec<_> = parked.iter().map(|record| (record.payload.as_slice(), record.error.as_str())).collect();
    let waits = "waits behind an earlier record of its key that is parked";
    assert_eq!(parked, [(&b"broken"[..], "it is broken"), (&b"b"[..], waits)]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_served_by_every_node_once_it_has_caught_up() {
    let world = World::new().await;
    world.say(&["a", "k:broken", "k:b"]).await;
    let words = Words::new();
    let (first, first_serving) = world.start(&words, world.on_disk());
    let (second, second_serving) = world.start(&words, world.on_disk());
    for serving in [&first_serving, &second_serving] {
        assert_eq!(world.counts(serving).await, pairs(&[("a", 1)]));
    }
    let built = world.database().begin_build(&words.model, BuildOptions::default()).await.unwrap();
    eventually("it is live", PATIENCE, async || {
        let live = [(1, GenerationState::Retired), (2, GenerationState::Live)];
        (world.generations().await == live).then_some(())
    })
    .await;
    assert_eq!(built.number, 2);
    world.say(&["a", "c"]).await;
    for serving in [&first_serving, &second_serving] {
        assert_eq!(world.counts(serving).await, pairs(&[("a", 2), ("c", 1)]));
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_strict_about_what_was_never_parked() {
    let world = World::new().await;
    world.say(&["a"]).await;
    let words = Words::new();
    let (projector, serving) = world.start(&words, world.on_disk());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    projector.stop().await;
    // Nobody has seen this one.
    world.say(&["k:broken"]).await;
    let generation = world.generation(1).await;
    let ends = world.log.ends(&world.topics).await.unwrap();
    let partitions: Vec<_> = ends.partitions().cloned().collect();
    let mut tx = world.database().writer(&generation).begin().await.unwrap();
    let claim = tx.claim(&partitions).await.unwrap();
    tx.advance(&claim, &ends).await.unwrap();
    tx.commit().await.unwrap();
    std::fs::remove_dir_all(world.folder.path().join("1")).unwrap();
    std::fs::create_dir_all(world.folder.path().join("1").join(generation.schema())).unwrap();
    let file = format!("{}\na 1\n", ends.to_json());
    std::fs::write(world.folder.path().join("1").join(generation.schema()).join("counts"), file).unwrap();

    let (projector, serving) = world.start(&words, world.on_disk());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    world.database().begin_build(&words.model, BuildOptions::default()).await.unwrap();
    let failed = eventually("it fails", PATIENCE, async || {
        let listed = world.database().generations(Some("words")).await.unwrap();
        listed.into_iter().find(|listed| listed.state == GenerationState::Failed)
    })
    .await;
    assert!(failed.error.unwrap().contains("was never parked"));
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]), "the live one goes on");
    assert_eq!(projector.states()[0].state, State::Running);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_holds_up_nothing_on_nodes_that_run_or_come_later() {
    let (world, words) = (World::new().await, Words::new());
    world.say(&["k:broken", "a"]).await;
    let (first, serving) = world.start(&words, ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    let parked = async || {
        let generation = world.generation(1).await;
        world.database().look_at(&generation).await.unwrap().parked().await.unwrap()
    };
    let id = parked().await[0].id;
    let discarded = discard(&AnyReplica::from(words.clone()), world.database(), &[id]).await.unwrap();
    assert_eq!(discarded.discarded, 1);

    world.say(&["k:b"]).await;
    let expected = pairs(&[("a", 1), ("b", 1)]);
    assert_eq!(world.counts(&serving).await, expected);
    let (later, serving) = world.start(&words, ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, expected);
    let parked: Vec<_> = parked().await.into_iter().map(|record| (record.id, record.discarded_at.is_some())).collect();
    assert_eq!(parked, [(id, true)]);
    first.stop().await;
    later.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_stays_so_in_a_rebuild_that_parks() {
    let (world, words) = (World::new().await, Words::new());
    world.say(&["k:broken", "k:b", "a"]).await;
    let (projector, serving) = world.start(&words, ReplicaFolder::in_memory());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    let parked = async |number| {
        let generation = world.generation(number).await;
        let parked = world.database().look_at(&generation).await.unwrap().parked().await.unwrap();
        parked.into_iter().map(|record| (record.id, record.discarded_at.is_some())).collect::<Vec<_>>()
    };
    let id = parked(1).await[0].0;
    discard(&AnyReplica::from(words.clone()), world.database(), &[id]).await.unwrap();

    let park = BuildOptions { park_failures: true, ..BuildOptions::default() };
    world.database().begin_build(&words.model, park).await.unwrap();
    eventually("it is live", PATIENCE, async || {
        (world.generations().await.last()? == &(2, GenerationState::Live)).then_some(())
    })
    .await;
    world.say(&["k:c"]).await;
    eventually("the new one is read", PATIENCE, async || {
        (world.counts(&serving).await == pairs(&[("a", 1), ("b", 1), ("c", 1)])).then_some(())
    })
    .await;
    assert_eq!(parked(2).await, [(id, true)]);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_strict_any_more_once_it_is_live() {
    let (world, words) = (World::new().await, Words::new());
    world.say(&["a"]).await;
    let (projector, serving) = world.start(&words, world.on_disk());
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1)]));
    world.database().begin_build(&words.model, BuildOptions::default()).await.unwrap();
    eventually("it is live", PATIENCE, async || {
        (world.generations().await == [(1, GenerationState::Retired), (2, GenerationState::Live)]).then_some(())
    })
    .await;
    // Its store is opened anew, and what is broken lies behind where the log ends then.
    *words.failing.lock().unwrap() = 1;
    world.say(&["k:broken", "b"]).await;
    assert_eq!(world.counts(&serving).await, pairs(&[("a", 1), ("b", 1)]));
    assert_eq!(*words.failing.lock().unwrap(), 0);
    assert_eq!(world.generations().await.last(), Some(&(2, GenerationState::Live)));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_becomes_live_while_nodes_of_the_older_one_run() {
    let (world, words) = (World::new().await, Words::new());
    world.say(&["a"]).await;
    let (old, old_serving) = world.start(&words, ReplicaFolder::in_memory());
    assert_eq!(world.counts(&old_serving).await, pairs(&[("a", 1)]));
    eventually("the older one has a leader", PATIENCE, async || {
        world.checkpoints(1).await.covers(&world.log.ends(&world.topics).await.unwrap()).then_some(())
    })
    .await;

    let next = Words { model: ReadModel::new("words", 2, ["words"], ""), ..words.clone() };
    let (new, new_serving) = world.start(&next, ReplicaFolder::in_memory());
    eventually("both are live", PATIENCE, async || {
        let live = [(1, GenerationState::Live), (2, GenerationState::Live)];
        (world.generations().await == live).then_some(())
    })
    .await;
    world.say(&["b"]).await;
    for serving in [&old_serving, &new_serving] {
        assert_eq!(world.counts(serving).await, pairs(&[("a", 1), ("b", 1)]));
    }
    old.stop().await;
    new.stop().await;
}

#[test]
fn a_folder_is_one_processs_own() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = folder.path();
    let first = ReplicaFolder::hold_first(path).unwrap();
    assert!(first.is_some() && ReplicaFolder::hold_first(path).unwrap().is_none());
    drop(first);
    assert!(ReplicaFolder::hold_first(path).unwrap().is_some());
}
