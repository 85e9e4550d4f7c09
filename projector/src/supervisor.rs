use std::sync::Arc;

use balcony_event_log::EventLog;
use balcony_search::Serving;
use balcony_store::Database;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::heartbeat::Heartbeat;
use crate::keeper::Keeper;
use crate::observer::Board;
use crate::reactor::worker::Runtime;
use crate::replica::{Folder, Replica, SEARCH, SEARCH_MODEL};
use crate::report::{Kind, ProjectionState};
use crate::{AnyProjection, AnyReactor};

/// Runs projections and reactors, each by itself: one that fails is restarted after a while and takes no other down.
pub struct Projector {
    log: Arc<dyn EventLog>,
    database: Database,
    group_prefix: String,
    /// A keeper and a heartbeat for each projection.
    keepers: JoinSet<()>,
    boards: Vec<Board>,
    stop: watch::Sender<bool>,
}

impl Projector {
    /// A projector without projections or reactors yet. Workers of one of them find each other in the log by the group
    /// `group_prefix` + namespace of the generation.
    pub fn new(log: Arc<dyn EventLog>, database: Database, group_prefix: impl Into<String>) -> Self {
        Self {
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
        let board = Board::new(projection.name(), Kind::Projector, projection.read_model().version);
        self.show(board.clone(), projection.topics().to_vec());
        let keeper = Keeper {
            projection,
            log: self.log.clone(),
            database: self.database.clone(),
            group_prefix: self.group_prefix.clone(),
            board,
        };
        self.keepers.spawn(keeper.run(self.stop.subscribe()));
    }

    /// Keeps a copy of the search index of the facts in `topic`, in `folder`, and lets `serving` have it.
    pub fn start_search(&mut self, topic: Arc<str>, folder: Folder, serving: Serving) {
        let board = Board::new(SEARCH, Kind::Projector, SEARCH_MODEL.version);
        self.show(board.clone(), vec![topic.clone()]);
        let (log, database) = (self.log.clone(), self.database.clone());
        let replica = Replica { log, database, topics: [topic], folder, serving, board };
        self.keepers.spawn(replica.run(self.stop.subscribe()));
    }

    /// Starts a reactor: writes down where it starts when that was never done, and goes on from where it is.
    pub fn start_reactor(&mut self, reactor: impl Into<AnyReactor>) {
        let reactor = reactor.into();
        let board = Board::of_reactor(reactor.name());
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

    /// Shows `board` in this process, and to all others.
    fn show(&mut self, board: Board, topics: Vec<Arc<str>>) {
        self.boards.push(board.clone());
        let (log, database) = (self.log.clone(), self.database.clone());
        self.keepers.spawn(Heartbeat { log, database, topics, board }.run(self.stop.subscribe()));
    }

    /// What each projection and reactor is doing.
    pub fn states(&self) -> Vec<ProjectionState> {
        self.boards.iter().map(Board::snapshot).collect()
    }

    /// A handle that shows what each projection and reactor is doing, for as long as anybody asks.
    pub fn observe(&self) -> impl Fn() -> Vec<ProjectionState> + Send + Sync + 'static {
        let boards = self.boards.clone();
        move || boards.iter().map(Board::snapshot).collect()
    }

    /// Ends every projection after the batch it is at and every reactor after the deliveries that are under way, and
    /// leaves the groups, so that others take over at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.keepers.join_next().await.is_some() {}
    }
}
