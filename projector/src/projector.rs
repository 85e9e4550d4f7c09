use std::sync::Arc;

use balcony_event_log::EventLog;
use balcony_store::Database;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::Board;
use crate::heartbeat::Heartbeat;
use crate::intake::IntakeError;
use crate::keeper::{Generational, Keeper};
use crate::projection::AnyProjection;
use crate::reactor::AnyReactor;
use crate::reactor::dispatcher::Runtime;
use crate::reading::Reading;
use crate::replica::{AnyReplica, ReplicaFolder};
use crate::report::{Kind, StepState};
use crate::supervise::{supervise, told_to};

/// Runs steps, each by itself: one that fails is restarted after a while and takes no other down.
pub struct Projector {
    log: Arc<dyn EventLog>,
    /// What all steps that follow the log share.
    reading: Arc<Reading>,
    database: Database,
    group_prefix: String,
    /// A keeper and a heartbeat for each step.
    keepers: JoinSet<()>,
    boards: Vec<Board>,
    stop: watch::Sender<bool>,
}

impl Projector {
    /// A projector without steps yet. All processes that work on one generation find each other in the log by a group
    /// whose name begins with `group_prefix`.
    pub fn new(log: Arc<dyn EventLog>, database: Database, group_prefix: impl Into<String>) -> Self {
        Self {
            reading: Reading::new(log.clone()),
            log,
            database,
            group_prefix: group_prefix.into(),
            keepers: JoinSet::new(),
            boards: Vec::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Starts a projection: works on its live generation, and builds the one that was asked for. Where there is none
    /// of its version yet, it is asked for.
    pub fn start(&mut self, projection: impl Into<AnyProjection>) {
        let projection = projection.into();
        let board = self.board(projection.name(), Kind::Projection, projection.read_model().version);
        let topics = projection.read_model().topics.clone();
        self.keep(Generational::Projection(projection), board, topics);
    }

    /// Keeps this process's own copy of a replica, in `folder`.
    pub fn start_replica(&mut self, replica: impl Into<AnyReplica>, folder: ReplicaFolder) {
        let replica = replica.into();
        let board = self.board(replica.name(), Kind::Replica, replica.read_model().version);
        let topics = replica.read_model().topics.clone();
        self.keep(Generational::Replica(replica, folder), board, topics);
    }

    fn board(&self, name: &Arc<str>, kind: Kind, version: u32) -> Board {
        Board::new(self.database.namespace(), name, kind, version)
    }

    fn keep(&mut self, step: Generational, board: Board, topics: Vec<Arc<str>>) {
        self.show(board.clone(), topics);
        let (log, database) = (self.log.clone(), self.database.clone());
        let reading = self.reading.clone();
        let keeper = Keeper { step, log, reading, database, group_prefix: self.group_prefix.clone(), board };
        self.keepers.spawn(keeper.run(self.stop.subscribe()));
    }

    /// Starts a reactor: writes down where it starts when that was never done, and goes on from where it is.
    pub fn start_reactor(&mut self, reactor: impl Into<AnyReactor>) {
        let reactor = reactor.into();
        reactor.open(&self.log, &self.database);
        let board = Board::of_reactor(self.database.namespace(), reactor.name());
        self.show(board.clone(), reactor.topics().to_vec());
        let runtime = Runtime {
            reactor,
            log: self.log.clone(),
            database: self.database.clone(),
            group_prefix: self.group_prefix.clone(),
            observer: board.live(),
        };
        self.keepers.spawn(runtime.run(self.stop.subscribe()));
    }

    /// Does `work`, which takes into the log what is outside (see [`Intake`](crate::Intake)), beside the steps: until the
    /// projector stops, when it is dropped at any await, and again after a while when it fails or panics. Doctor shows it
    /// under `name`, which no step has.
    pub fn start_intake<W>(&mut self, name: impl Into<Arc<str>>, work: impl Fn() -> W + Send + Sync + 'static)
    where
        W: Future<Output = Result<(), IntakeError>> + Send + 'static,
    {
        let board = Board::of_intake(self.database.namespace(), &name.into());
        self.show(board.clone(), Vec::new());
        let observer = board.live();
        let attempt = move |mut stop: watch::Receiver<bool>| {
            let (work, observer) = (work(), observer.clone());
            async move {
                observer.running();
                tokio::select! {
                    done = work => Ok(done?),
                    () = told_to(&mut stop) => Ok(()),
                }
            }
        };
        let (observer, stop) = (board.live(), self.stop.subscribe());
        self.keepers.spawn(async move { supervise(attempt, observer, stop).await });
    }

    /// Shows `board` in this process, and to all others.
    fn show(&mut self, board: Board, topics: Vec<Arc<str>>) {
        self.boards.push(board.clone());
        let (log, database) = (self.log.clone(), self.database.clone());
        self.keepers.spawn(Heartbeat { log, database, topics, board }.run(self.stop.subscribe()));
    }

    /// What each step is doing.
    pub fn states(&self) -> Vec<StepState> {
        self.boards.iter().map(Board::snapshot).collect()
    }

    /// A handle that shows what each step is doing, for as long as anybody asks.
    pub fn observe(&self) -> impl Fn() -> Vec<StepState> + Send + Sync + 'static {
        let boards = self.boards.clone();
        move || boards.iter().map(Board::snapshot).collect()
    }

    /// Ends every projection and replica after the batch it is at and every reactor after the deliveries that are under way, and
    /// leaves the groups, so that others take over at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.keepers.join_next().await.is_some() {}
    }
}
