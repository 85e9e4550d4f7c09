use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_store::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::AnyProjection;
use crate::builder::Builder;
use crate::observer::{Backoff, Board, Observer};
use crate::report::RebuildState;
use crate::worker::{Worker, WorkerError, told_to};

/// How often the generations are looked at when nobody tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a batch under way may take once it is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Sees to it that each generation of one projection has who works on it: the live one and the one that follows have a
/// worker each, the one that is built has a builder, which waits while another process builds.
pub(crate) struct Keeper {
    pub(crate) projection: AnyProjection,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) group_prefix: String,
    pub(crate) board: Board,
}

/// What there is to do, by the number of the generation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) live: Option<i64>,
    pub(crate) work: Vec<Generation>,
    pub(crate) build: Option<Generation>,
    pub(crate) rebuild: Option<RebuildState>,
    /// Whether a generation of this program's version is to be asked for.
    pub(crate) begin: bool,
    /// Why nothing is done.
    pub(crate) complaint: Option<String>,
}

/// Somebody who works on a generation.
struct Task {
    generation: Generation,
    observer: Observer,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl Plan {
    fn of(listed: &[ListedGeneration], version: i64) -> Self {
        let mut plan = Self::default();
        let live = listed.iter().find(|listed| listed.state == GenerationState::Live);
        let unfinished = listed.iter().find(|listed| listed.state.is_unfinished());
        let has_live = live.is_some_and(|live| live.generation.version == version);
        if let Some(live) = live.filter(|_| has_live) {
            plan.live = Some(live.generation.number);
            plan.work.push(live.generation.clone());
        }
        let own = unfinished.filter(|unfinished| unfinished.generation.version == version);
        if let Some(ListedGeneration { generation, state, error, .. }) = own {
            plan.rebuild = Some(RebuildState {
                generation: generation.number,
                version: generation.version,
                state: state.to_string(),
                error: error.clone(),
            });
            if *state == GenerationState::Following {
                plan.work.push(generation.clone());
            }
            if *state != GenerationState::Failed {
                plan.build = Some(generation.clone());
            }
            return plan;
        }
        if has_live {
            return plan;
        }

        let newest = listed.iter().filter(|listed| listed.state != GenerationState::Retired);
        let newest = newest.map(|listed| listed.generation.version).max().unwrap_or(0);
        let rolled_back = listed.iter().any(|listed| listed.generation.version == version);
        if newest > version {
            plan.complaint = Some(format!(
                "a generation of version {newest} is there and this program has version {version}: run the newer \
                 program, or roll back"
            ));
        } else if rolled_back {
            plan.complaint = Some(format!(
                "it was rolled back to version {newest} and this program has version {version}: run the older program, \
                 or rebuild"
            ));
        } else {
            plan.begin = true;
        }
        plan
    }

    /// What there is to do about `model`, and its generations; asks for one where it is missing, or where it failed
    /// and is to be tried again.
    pub(crate) async fn make(
        database: &Database,
        model: &ReadModel,
        try_again: bool,
    ) -> Result<(Self, Vec<ListedGeneration>), StoreError> {
        let listed = database.generations(Some(model.name)).await?;
        let plan = Self::of(&listed, model.version.into());
        if plan.begin || plan.has_failed() && try_again {
            // The first generation of all has nothing before it that could have parked anything.
            let options = BuildOptions { park_failures: listed.is_empty(), ..BuildOptions::default() };
            database.begin_build(model, options).await?;
            let listed = database.generations(Some(model.name)).await?;
            return Ok((Self::of(&listed, model.version.into()), listed));
        }
        Ok((plan, listed))
    }

    /// Whether the build of this program's version has failed.
    fn has_failed(&self) -> bool {
        self.rebuild.as_ref().is_some_and(|rebuild| rebuild.error.is_some())
    }
}

impl Keeper {
    /// Keeps until it is told to stop; then everybody ends after the batch they are at.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.database.progress().generation_ticks();
        let mut workers: BTreeMap<i64, Task> = BTreeMap::new();
        let mut builder: Option<Task> = None;
        // What failed before this program was started may be mended in it.
        let mut try_again = true;
        while !*stop.borrow() {
            changes.mark_unchanged();
            let plan = Plan::make(&self.database, &self.projection.read_model(), try_again).await;
            try_again &= plan.is_err();
            match plan {
                Ok((plan, _)) => self.follow(plan, &mut workers, &mut builder),
                Err(error) if error.is_transient() => self.board.live().waiting(&error),
                Err(error) => self.board.live().stopped(&error.to_string()),
            }
            tokio::select! {
                // Told or not, the generations are looked at.
                _ = tokio::time::timeout(LOOK_EVERY, changes.changed()) => {}
                () = told_to(&mut stop) => {}
            }
        }
        if let Some(builder) = builder {
            builder.handle.abort();
        }
        let ended: Vec<JoinHandle<()>> = workers.into_values().map(Task::stop).collect();
        for handle in ended {
            // Whoever is not done in time is dropped where it stands, which is as good as a crash.
            let abort = handle.abort_handle();
            if tokio::time::timeout(GRACE, handle).await.is_err() {
                abort.abort();
            }
        }
    }

    /// Starts and stops whoever the plan wants or does not want any more.
    fn follow(&self, plan: Plan, workers: &mut BTreeMap<i64, Task>, builder: &mut Option<Task>) {
        let wanted = |number: &i64| plan.work.iter().any(|generation| generation.number == *number);
        for (_, task) in workers.extract_if(.., |number, _| !wanted(number)) {
            task.stop();
        }
        for generation in plan.work {
            workers.entry(generation.number).or_insert_with(|| self.start_worker(generation));
        }
        if builder.as_ref().is_some_and(|task| Some(&task.generation) != plan.build.as_ref()) {
            // It may be past its switch, or its generation was cancelled.
            builder.take().expect("there is one").stop();
        }
        if let Some(generation) = plan.build.filter(|_| builder.is_none()) {
            *builder = Some(self.start_builder(generation));
        }

        let live = plan.live.and_then(|number| workers.get(&number));
        let failure = plan.rebuild.as_ref().filter(|_| live.is_none()).and_then(|rebuild| rebuild.error.clone());
        self.board.show(live.map(|task| &task.observer), plan.rebuild);
        if let Some(complaint) = plan.complaint.or(failure) {
            self.board.live().stopped(&complaint);
        }
    }

    fn start_worker(&self, generation: Generation) -> Task {
        let observer = Observer::new(self.projection.name(), generation.number);
        let (projection, log, database) = (self.projection.clone(), self.log.clone(), self.database.clone());
        let (group_prefix, of) = (self.group_prefix.clone(), generation.clone());
        let reports = observer.clone();
        Task::start(generation, observer, move |stop| {
            let worker = Worker::join(&projection, log.as_ref(), &database, &of, &group_prefix, reports.clone());
            worker.run(stop)
        })
    }

    fn start_builder(&self, generation: Generation) -> Task {
        let observer = Observer::new(self.projection.name(), generation.number);
        let (projection, log, database) = (self.projection.clone(), self.log.clone(), self.database.clone());
        let (reports, of) = (observer.clone(), generation.clone());
        Task::start(generation, observer, move |mut stop| {
            let builder = Builder::new(projection.clone(), log.clone(), database.clone(), of.clone(), reports.clone());
            async move {
                tokio::select! {
                    built = builder.run() => built,
                    () = told_to(&mut stop) => Ok(()),
                }
            }
        })
    }
}

impl Task {
    fn start<W>(
        generation: Generation,
        observer: Observer,
        work: impl Fn(watch::Receiver<bool>) -> W + Send + 'static,
    ) -> Self
    where
        W: Future<Output = Result<(), WorkerError>> + Send + 'static,
    {
        let stop = watch::Sender::new(false);
        let handle = tokio::spawn(supervise(work, observer.clone(), stop.subscribe()));
        Self { generation, observer, stop, handle }
    }

    fn stop(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.handle
    }
}

/// Does `work` until it is done; when it fails, again after a while, unless only somebody else can help.
pub(crate) async fn supervise<W>(
    work: impl Fn(watch::Receiver<bool>) -> W,
    observer: Observer,
    mut stop: watch::Receiver<bool>,
) where
    W: Future<Output = Result<(), WorkerError>>,
{
    let mut backoff = Backoff::new();
    while !*stop.borrow() {
        let before = observer.events();
        let ended = catch_panic(work(stop.clone())).await;
        let Err(error) = ended.unwrap_or(Err(WorkerError::Panicked)) else { return };
        if !error.may_pass() {
            observer.stopped(&error.to_string());
            return;
        }
        observer.failed(&error.to_string());
        if observer.events() > before {
            backoff = Backoff::new();
        }
        tokio::select! {
            () = backoff.pause() => {}
            () = told_to(&mut stop) => {}
        }
    }
}

/// Runs `work`; `None` when it panics.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(number: i64, version: i64, state: GenerationState) -> ListedGeneration {
        let generation = Generation { projection: "things".into(), number, version };
        ListedGeneration { generation, state, error: None, options: BuildOptions::default() }
    }

    fn plan(listed: &[ListedGeneration], version: i64) -> (Vec<i64>, Option<i64>, bool, bool) {
        let Plan { work, build, begin, complaint, .. } = Plan::of(listed, version);
        let work = work.iter().map(|generation| generation.number).collect();
        (work, build.map(|generation| generation.number), begin, complaint.is_some())
    }

    #[test]
    fn every_state_of_the_generations_has_its_plan() {
        use GenerationState::{Copying, Failed, Following, Live};

        assert_eq!(plan(&[], 1), (vec![], None, true, false), "a first generation is asked for");
        assert_eq!(plan(&[listed(1, 1, Copying)], 1), (vec![], Some(1), false, false));
        assert_eq!(plan(&[listed(1, 1, Live)], 1), (vec![1], None, false, false));
        let rebuilding = [listed(1, 1, Live), listed(2, 1, Copying)];
        assert_eq!(plan(&rebuilding, 1), (vec![1], Some(2), false, false), "the live one is worked on meanwhile");
        let following = [listed(1, 1, Live), listed(2, 1, Following)];
        assert_eq!(plan(&following, 1), (vec![1, 2], Some(2), false, false));
        let failed = [listed(1, 1, Live), listed(2, 1, Failed)];
        assert_eq!(plan(&failed, 1), (vec![1], None, false, false), "what failed waits for somebody");
    }

    #[test]
    fn a_new_version_is_built_and_an_older_program_keeps_off() {
        use GenerationState::{Copying, Following, Live, Retired};

        assert_eq!(plan(&[listed(1, 1, Live)], 2), (vec![], None, true, false));
        let upgrading = [listed(1, 1, Live), listed(2, 2, Following)];
        assert_eq!(plan(&upgrading, 2), (vec![2], Some(2), false, false));
        assert_eq!(plan(&upgrading, 1), (vec![1], None, false, false), "the old program serves its own");
        assert_eq!(plan(&[listed(1, 1, Live), listed(2, 2, Copying)], 3), (vec![], None, true, false));
        let upgraded = [listed(1, 1, Retired), listed(2, 2, Live)];
        assert_eq!(plan(&upgraded, 2), (vec![2], None, false, false));
        assert_eq!(plan(&upgraded, 1), (vec![], None, false, true));
        let rolled_back = [listed(1, 1, Live), listed(2, 2, Retired)];
        assert_eq!(plan(&rolled_back, 2), (vec![], None, false, true), "going back is not undone by itself");
        assert_eq!(plan(&rolled_back, 1), (vec![1], None, false, false));
    }
}
