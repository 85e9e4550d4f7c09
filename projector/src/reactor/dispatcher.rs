use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{Batch, EventLog, Incoming, LogError, Positions, Reader, Record, TopicPartition};
use balcony_store::Database;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::again::Again;
use super::delivering::{Deliverer, Outcome};
use super::ledger::Ledger;
use super::spec::AnyReactor;
use super::window::Window;
use crate::error::WorkError;
use crate::losses::Losses;
use crate::observer::Observer;
use crate::parking::{Failures, Reason};
use crate::supervise::{supervise, told_to};

/// The least time between two commits while something is under way.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// How often a dispatcher looks whether its partitions are still its own, while something is under way and nothing done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the last commit may take before partitions are given up.
const GRACE: Duration = Duration::from_secs(5);
/// How long a dispatcher may take to end beyond the grace of its deliveries.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Runs one reactor, and again when it fails.
pub(crate) struct Runtime {
    pub(crate) reactor: AnyReactor,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) group_prefix: String,
    pub(crate) observer: Observer,
}

/// Delivers to one reactor what the partitions that it holds have.
struct Dispatcher {
    reactor: AnyReactor,
    /// How many records the window may hold.
    most: usize,
    reader: Reader,
    ledger: Ledger,
    losses: Losses,
    window: Window,
    /// What was read and has no room in the window yet.
    backlog: VecDeque<Record>,
    /// Where reading has come when the backlog is empty.
    reached: Positions,
    deliverer: Arc<Deliverer>,
    deliveries: JoinSet<Outcome>,
    under_way: HashMap<Id, UnderWay>,
    failures: Failures,
    /// Whether something has happened since the last commit.
    dirty: bool,
    committed_at: Instant,
    observer: Observer,
}

struct UnderWay {
    record: Arc<Record>,
    task: AbortHandle,
}

type Ended = Result<(Id, Outcome), JoinError>;

impl Runtime {
    /// Runs until it is told to stop, or until somebody has to look.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = |stop| async { Dispatcher::join(&self).await?.run(stop).await };
        let again = Again::new(self.reactor.clone(), self.log.clone(), self.database.clone()).run(stop.clone());
        let longest = self.reactor.policy().grace + LONGEST_END;
        let supervised = supervise(work, self.observer.clone(), stop.clone());
        let overdue = async {
            told_to(&mut stop).await;
            tokio::time::sleep(longest).await;
        };
        tokio::select! {
            _ = async { tokio::join!(supervised, again) } => {}
            // It is dropped where it stands, which is as good as a crash.
            () = overdue => {}
        }
    }
}

impl Dispatcher {
    /// Joins the group of the reactor's dispatchers, once it is written down where the reactor starts.
    async fn join(runtime: &Runtime) -> Result<Self, WorkError> {
        let Runtime { reactor, log, database, group_prefix, observer } = runtime;
        let ledger = Ledger::open(reactor, log.as_ref(), database, observer.clone()).await?;
        let reader = log.join(&ledger.group(group_prefix), reactor.topics());
        let generation = ledger.generation().clone();
        let losses = Losses { log: log.clone(), database: database.clone(), generation, observer: observer.clone() };
        Ok(Self {
            reactor: reactor.clone(),
            most: reactor.policy().window,
            reader,
            losses,
            ledger,
            window: Window::default(),
            backlog: VecDeque::new(),
            reached: Positions::new(),
            deliverer: Arc::new(Deliverer::new(reactor.clone(), log.clone(), observer.clone())),
            deliveries: JoinSet::new(),
            under_way: HashMap::new(),
            failures: Failures::default(),
            dirty: false,
            committed_at: Instant::now(),
            observer: observer.clone(),
        })
    }

    /// Works until something fails for good or it is told to stop: then it lets deliveries under way end, writes down
    /// how far it has come, and leaves its group. Dropping the future at any await is as good as a crash, after which
    /// what is not yet written down as done is delivered again.
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), WorkError> {
        let worked = self.work(&mut stop).await;
        if matches!(worked, Ok(()) | Err(WorkError::Undelivered { .. })) {
            self.finish().await;
        }
        worked
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), WorkError> {
        loop {
            self.take_in();
            let now = Instant::now();
            let due = self.commit_due();
            if due.is_some_and(|due| due <= now) {
                self.commit(now).await?;
                continue;
            }
            tokio::select! {
                () = told_to(stop) => return Ok(()),
                Some(ended) = self.deliveries.join_next_with_id() => {
                    self.settle(ended)?;
                    while let Some(ended) = self.deliveries.try_join_next_with_id() {
                        self.settle(ended)?;
                    }
                }
                delivery = self.reader.next(), if self.backlog.is_empty() => match delivery {
                    Ok(Incoming::Assigned(partitions)) => self.assigned(&partitions).await?,
                    Ok(Incoming::Revoked(partitions)) => self.revoked(&partitions).await,
                    // It says that the log is back.
                    Ok(Incoming::Records(batch)) if batch.records.is_empty() && batch.reached.is_empty() => {
                        self.observer.running();
                    }
                    Ok(Incoming::Records(Batch { records, reached })) => {
                        self.backlog = self.ledger.leave_out_repeats(&self.reactor, records).await?.into();
                        self.reached.merge(&reached);
                        self.dirty = true;
                    }
                    Err(error @ LogError::Unavailable(_)) => self.observer.waiting(&error),
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    /// Moves into the window what it has room for.
    fn take_in(&mut self) {
        while self.window.has_room(self.most) {
            let Some(record) = self.backlog.pop_front() else {
                self.dirty |= !self.reached.is_empty();
                self.window.reach(&std::mem::take(&mut self.reached));
                return;
            };
            // It may be set aside at once, or be of no concern: nothing else would have that written down.
            self.dirty = true;
            let matters = self.reactor.wants(&record) && !self.ledger.passes_over(&record);
            if matters && self.window.take_in(&record) {
                self.line_up(Arc::new(record));
            }
        }
    }

    fn line_up(&mut self, record: Arc<Record>) {
        if self.ledger.is_behind_parked(&record) {
            self.ledger.park(record, Reason::Waits, &mut self.window);
        } else if let Some(record) = self.window.line_up(record) {
            self.deliver(record);
        }
    }

    fn deliver(&mut self, record: Arc<Record>) {
        let task = self.deliveries.spawn(self.deliverer.clone().deliver(record.clone()));
        self.under_way.insert(task.id(), UnderWay { record, task });
    }

    /// Notes what became of a delivery.
    fn settle(&mut self, ended: Ended) -> Result<(), WorkError> {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Outcome::Failed(error.to_string())),
        };
        // Those of partitions that were given up are not among them.
        let Some(UnderWay { record, .. }) = self.under_way.remove(&id) else { return Ok(()) };
        self.dirty = true;
        match outcome {
            Outcome::Delivered | Outcome::Unknown => {
                self.observer.delivered(matches!(outcome, Outcome::Delivered));
                self.failures.note(0, 1);
                if let Some(next) = self.window.delivered(&record) {
                    self.deliver(next);
                }
            }
            Outcome::Failed(reason) => {
                if let Some(limit) = self.failures.limit() {
                    return Err(WorkError::undelivered(limit, reason));
                }
                self.failures.note(1, 0);
                self.park(record, Reason::Failed(reason));
            }
            // None of them says anything about the reactor or the rest of the world: there may be any number of them.
            Outcome::Refused(reason) => self.park(record, Reason::Failed(reason)),
            Outcome::Later(reason) => self.park(record, Reason::Later(reason)),
            Outcome::Broken(reason) => self.park(record, Reason::Broken(reason)),
            Outcome::Interrupted => {}
        }
        Ok(())
    }

    /// Sets a record aside with what waits behind it.
    fn park(&mut self, record: Arc<Record>, reason: Reason) {
        let behind = self.window.failed(&record);
        self.ledger.park(record, reason, &mut self.window);
        for record in behind {
            self.ledger.park(record, Reason::Waits, &mut self.window);
        }
    }

    /// When the next commit is due: at once when nothing is under way that could be written down with it.
    fn commit_due(&self) -> Option<Instant> {
        match (self.dirty, self.backlog.is_empty()) {
            (true, true) if self.under_way.is_empty() => Some(self.committed_at),
            (true, _) => Some(self.committed_at + COMMIT_EVERY),
            (false, _) if !self.under_way.is_empty() => Some(self.committed_at + LOOK_EVERY),
            (false, _) => None,
        }
    }

    async fn commit(&mut self, now: Instant) -> Result<(), WorkError> {
        self.dirty = false;
        if self.ledger.has_news(&self.window) || self.committed_at + LOOK_EVERY <= now {
            for record in self.ledger.commit(&mut self.window).await? {
                self.line_up(record);
            }
            self.committed_at = Instant::now();
        }
        Ok(())
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkError> {
        self.abort(|_| true);
        self.backlog.clear();
        self.reached = Positions::new();
        let positions = self.ledger.claim(partitions).await?;
        self.window = Window::new(&positions);
        self.window.reach(&self.losses.note(&positions).await?);
        self.dirty = true;
        self.reader.start(self.window.frontier());
        self.observer.running();
        Ok(())
    }

    /// Lets go of `partitions`; whoever has them next delivers again what is not written down, so that is done once
    /// more, if it is not too late.
    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        let committed = timeout(GRACE, self.ledger.commit(&mut self.window)).await;
        match committed {
            Ok(Ok(freed)) => freed.into_iter().for_each(|record| self.line_up(record)),
            Ok(Err(error)) => tracing::debug!(%error, "partitions were taken over before the last commit"),
            Err(_) => tracing::debug!("partitions were given up without a last commit"),
        }
        self.abort(|partition| partitions.contains(partition));
        self.window.release(partitions);
        self.ledger.release(partitions);
        self.backlog.retain(|record| !partitions.contains(&record.partition));
        self.reached.retain(|partition| !partitions.contains(partition));
    }

    /// Ends the deliveries of these partitions, wherever they are.
    fn abort(&mut self, is_given_up: impl Fn(&TopicPartition) -> bool) {
        for (_, given_up) in self.under_way.extract_if(|_, under_way| is_given_up(&under_way.record.partition)) {
            given_up.task.abort();
        }
    }

    /// Lets deliveries under way end, writes down how far everything is done and leaves the group.
    async fn finish(mut self) {
        self.deliverer.close();
        let (reactor, grace) = (self.reactor.clone(), self.reactor.policy().grace);
        let step = &**reactor.name();
        // What was given up to others may still have its effect, too.
        let ended = timeout(grace, async { tokio::join!(reactor.end(), self.drain()).1 }).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(step, %error, "the last deliveries will be repeated"),
            Err(_) => tracing::warn!(step, "some deliveries did not end in time and will be repeated"),
        }
        if self.ledger.has_news(&self.window)
            && let Err(error) = self.ledger.commit(&mut self.window).await
        {
            tracing::warn!(step, %error, "the last deliveries will be repeated");
        }
        self.reader.close().await;
    }

    /// Waits for deliveries under way, and writes down what is done as it goes.
    async fn drain(&mut self) -> Result<(), WorkError> {
        while !self.deliveries.is_empty() {
            let now = Instant::now();
            let due = self.commit_due();
            if due.is_some_and(|due| due <= now) {
                self.commit(now).await?;
                continue;
            }
            tokio::select! {
                Some(ended) = self.deliveries.join_next_with_id() => {
                    if let Err(error) = self.settle(ended) {
                        tracing::debug!(%error, "a record is left as it is");
                    }
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
        Ok(())
    }
}
