use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_store::{Database, Generation, GenerationState, ListedGeneration, ReadModel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::applier::{Applier, OnFailure};
use crate::board::Board;
use crate::builder::Builder;
use crate::error::WorkError;
use crate::follower::Follower;
use crate::group::group;
use crate::losses::Losses;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::reading::Reading;
use crate::replica::copy::{Copying, Shown};
use crate::replica::lead::{Leader, Led};
use crate::report::State;
use crate::rows::Rows;
use crate::supervise::{supervise, told_to};
use crate::{AnyProjection, AnyReplica, ReplicaFolder};

/// How often the generations are looked at when nobody tells of a change.
const PLAN_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked how far the copies of a replica have come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what old generations have left behind is tried to be dropped, when somebody still reads it.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long a batch under way may take once it is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Sees to it that each generation of one step has who works on it in this process.
///
/// Of a projection the live generation and the one that follows have a follower each, the one that is built has a
/// builder, which waits while another process builds. Of a replica this process has a copy of the live generation and of
/// the one that is built, and of these two the one is served that has caught up.
pub(crate) struct Keeper {
    pub(crate) step: Generational,
    pub(crate) log: Arc<dyn EventLog>,
    /// What is shared with the other steps of the process.
    pub(crate) reading: Arc<Reading>,
    pub(crate) database: Database,
    pub(crate) group_prefix: String,
    pub(crate) board: Board,
}

/// A step that has generations.
pub(crate) enum Generational {
    Projection(AnyProjection),
    Replica(AnyReplica, ReplicaFolder),
}

/// Somebody who works on a generation.
struct Task {
    generation: Generation,
    observer: Observer,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
    /// What a copy of a replica shows.
    shown: Option<watch::Receiver<Shown>>,
    /// How often operators had accepted what failed in the generation when it began.
    accepted: i64,
}

/// That the generations could not be looked at.
struct Trouble {
    /// Where it was reported.
    observer: Observer,
    /// What was done before.
    before: State,
    /// What was reported.
    since: State,
}

/// Who works, by the number of the generation.
#[derive(Default)]
struct Tasks {
    followers: BTreeMap<i64, Task>,
    builder: Option<Task>,
    /// The generation of a replica that is read.
    served: Option<i64>,
}

impl Generational {
    fn read_model(&self) -> &ReadModel {
        match self {
            Self::Projection(projection) => projection.read_model(),
            Self::Replica(replica, _) => replica.read_model(),
        }
    }
}

impl Keeper {
    /// Keeps until it is told to stop; then everybody ends after the batch they are at.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.database.progress().generation_ticks();
        let mut tasks = Tasks::default();
        let mut leader = Leader::new(self.database.clone(), self.step.read_model().clone());
        let mut planned: Option<Instant> = None;
        let mut swept: Option<Instant> = None;
        let mut plan = Plan::default();
        // What failed before this program was started may be mended in it.
        let mut try_again = true;
        let mut trouble = None;
        while !*stop.borrow() {
            if planned.is_none_or(|at| at.elapsed() >= PLAN_EVERY) {
                changes.mark_unchanged();
                match Plan::make(&self.database, self.step.read_model(), try_again).await {
                    Ok((made, listed)) => {
                        (try_again, planned, plan) = (false, Some(Instant::now()), made);
                        if let Some(Trouble { observer, before, since }) = trouble.take() {
                            observer.goes_on(before, since);
                        }
                        self.follow(&plan, &listed, &mut tasks).await;
                    }
                    Err(error) => {
                        let observer = self.board.live();
                        let before = trouble.take().map_or_else(|| observer.state(), |trouble: Trouble| trouble.before);
                        match error.is_transient() {
                            true => observer.waiting(&error),
                            false => observer.stopped(&error.to_string()),
                        }
                        let since = observer.state();
                        trouble = Some(Trouble { observer, before, since });
                    }
                }
            }
            if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                self.database.drop_leftovers().await;
                swept = Some(Instant::now());
            }
            let mut look_every = PLAN_EVERY;
            if let Generational::Replica(replica, _) = &self.step {
                look_every = LOOK_EVERY;
                tasks.serve(replica, plan.live, plan.complaint.as_ref());
                let led = tasks.led(plan.build.as_ref());
                if let Err(error) = leader.lead(&led).await {
                    tracing::debug!(step = &**replica.name(), %error, "how far a replica has come is not written down");
                }
            }
            tokio::select! {
                told = tokio::time::timeout(look_every, changes.changed()) => {
                    if told.is_ok() {
                        planned = None;
                    }
                }
                () = told_to(&mut stop) => {}
            }
        }
        if let Some(builder) = tasks.builder {
            builder.handle.abort();
        }
        Task::stop_all(tasks.followers.into_values()).await;
    }

    /// Starts and stops whoever the plan wants or does not want any more.
    async fn follow(&self, plan: &Plan, listed: &[ListedGeneration], tasks: &mut Tasks) {
        let wanted = self.wanted(plan, listed, tasks.served);
        let is_wanted = |number: &i64| wanted.iter().any(|listed| listed.generation.number == *number);
        let unwanted = tasks.followers.extract_if(.., |number, _| !is_wanted(number));
        let unwanted: Vec<Task> = unwanted.map(|(_, task)| task).collect();
        match &self.step {
            Generational::Projection(projection) => {
                // They end by themselves, and whoever takes over need not wait.
                unwanted.into_iter().for_each(|task| drop(task.stop()));
                for listed in wanted {
                    tasks.end_accepted(listed);
                    let start = || self.start_follower(projection, listed);
                    tasks.followers.entry(listed.generation.number).or_insert_with(start);
                }
                if tasks.builder.as_ref().is_some_and(|task| Some(&task.generation) != plan.build.as_ref()) {
                    // It may be past its switch, or its generation was cancelled.
                    tasks.builder.take().expect("there is one").stop();
                }
                if let Some(generation) = plan.build.clone().filter(|_| tasks.builder.is_none()) {
                    tasks.builder = Some(self.start_builder(projection, generation));
                }
            }
            Generational::Replica(replica, folder) => {
                Task::stop_all(unwanted.into_iter()).await;
                for listed in wanted {
                    let start = || self.start_copy(replica, folder, listed);
                    tasks.followers.entry(listed.generation.number).or_insert_with(start);
                }
                let mut known: Vec<String> =
                    listed.iter().map(|listed| listed.generation.schema().to_owned()).collect();
                known.extend(tasks.followers.values().map(|task| task.generation.schema().to_owned()));
                if let Err(error) = folder.sweep(&known) {
                    tracing::warn!(%error, "what a replica does not need any more could not be removed");
                }
            }
        }
        self.show(plan, tasks);
    }

    /// The generations that are to be followed here.
    fn wanted<'l>(
        &self,
        plan: &Plan,
        listed: &'l [ListedGeneration],
        served: Option<i64>,
    ) -> Vec<&'l ListedGeneration> {
        let is_wanted = |listed: &&ListedGeneration| {
            let number = listed.generation.number;
            match self.step {
                Generational::Projection(_) => plan.work.contains(&listed.generation),
                // The one that is read stays until another can be.
                Generational::Replica(..) => {
                    let is_built = plan.build.as_ref().is_some_and(|build| build.number == number);
                    plan.live == Some(number) || is_built || served == Some(number)
                }
            }
        };
        listed.iter().filter(is_wanted).collect()
    }

    fn show(&self, plan: &Plan, tasks: &Tasks) {
        let mut shown = plan.live;
        if matches!(self.step, Generational::Replica(..)) {
            shown = shown.or(plan.build.as_ref().map(|build| build.number));
        }
        let shown = shown.and_then(|number| tasks.followers.get(&number));
        let failed = plan.rebuild.as_ref().filter(|rebuild| rebuild.state == GenerationState::Failed.as_str());
        let failure = failed.filter(|_| shown.is_none()).and_then(|rebuild| rebuild.error.clone());
        self.board.show(shown.map(|task| &task.observer), plan.rebuild.clone());
        if let Some(complaint) = plan.complaint.clone().or(failure) {
            self.board.live().stopped(&complaint);
        }
    }

    fn observer(&self, generation: &Generation) -> Observer {
        Observer::new(self.database.namespace(), generation.projection.as_str(), generation.number)
    }

    fn start_follower(&self, projection: &AnyProjection, listed: &ListedGeneration) -> Task {
        let generation = listed.generation.clone();
        let observer = self.observer(&generation);
        let (projection, log, database) = (projection.clone(), self.log.clone(), self.database.clone());
        let reading = self.reading.clone();
        let (group, of, reports) = (group(&self.group_prefix, &generation), generation.clone(), observer.clone());
        let task = Task::start(generation, observer, None, move |stop| {
            let rows = Rows::new(projection.clone(), &database, of.clone());
            let name = projection.name().clone();
            let applier = Applier::new(Arc::new(projection.clone()), rows, name, OnFailure::Park, reports.clone());
            let (generation, observer) = (of.clone(), reports.clone());
            let losses = Losses { log: log.clone(), database: database.clone(), generation, observer };
            Follower::work(applier, losses, group.clone(), reading.clone(), reports.clone(), stop)
        });
        Task { accepted: listed.accepted, ..task }
    }

    fn start_builder(&self, projection: &AnyProjection, generation: Generation) -> Task {
        let observer = self.observer(&generation);
        let (projection, log, database) = (projection.clone(), self.log.clone(), self.database.clone());
        let (reports, of) = (observer.clone(), generation.clone());
        Task::start(generation, observer, None, move |mut stop| {
            let builder = Builder::new(projection.clone(), log.clone(), database.clone(), of.clone(), reports.clone());
            async move {
                tokio::select! {
                    built = builder.run() => built,
                    () = told_to(&mut stop) => Ok(()),
                }
            }
        })
    }

    fn start_copy(&self, replica: &AnyReplica, folder: &ReplicaFolder, listed: &ListedGeneration) -> Task {
        let generation = listed.generation.clone();
        let observer = self.observer(&generation);
        let shown = watch::Sender::new(Shown::default());
        let showing = shown.subscribe();
        let copying = Copying {
            replica: replica.clone(),
            log: self.log.clone(),
            reading: self.reading.clone(),
            database: self.database.clone(),
            directory: folder.of(&generation),
            generation: generation.clone(),
            observer: observer.clone(),
            shown,
        };
        Task::start(generation, observer, Some(showing), move |stop| copying.clone().run(stop))
    }
}

impl Tasks {
    /// Lets the live generation of a replica be read once it has caught up, and until then the one before.
    fn serve(&mut self, replica: &AnyReplica, live: Option<i64>, complaint: Option<&String>) {
        let shown = |number: i64| Some(self.followers.get(&number)?.shown.as_ref()?.borrow().clone());
        let served_goes_on = self.served.and_then(shown).and_then(|shown| shown.caught_up()).is_some();
        if let Some((number, shown)) = live.and_then(|number| Some((number, shown(number)?)))
            && let Some(view) = shown.caught_up()
        {
            // A copy that was started again has opened its store anew, and only that view moves on.
            let other_goes_on = served_goes_on && self.served != Some(number);
            if view.serve(shown.positions, other_goes_on) {
                self.served = Some(number);
            }
            return;
        }
        if served_goes_on {
            return;
        }
        self.served = None;
        // A generation that is built without one before it, or the live one anew.
        let coming = live.or_else(|| self.followers.keys().next_back().copied()).and_then(shown);
        match (coming, complaint) {
            (Some(coming), _) => replica.close(coming.note()),
            (None, Some(complaint)) => replica.close(complaint.clone()),
            (None, None) => {}
        }
    }

    /// Forgets a follower that has stopped at too many failures, once an operator has accepted them.
    fn end_accepted(&mut self, listed: &ListedGeneration) {
        let is_over = |task: &Task| task.handle.is_finished() && task.accepted != listed.accepted;
        if self.followers.get(&listed.generation.number).is_some_and(is_over) {
            self.followers.remove(&listed.generation.number);
        }
    }

    /// The copies, for whoever leads.
    fn led(&self, build: Option<&Generation>) -> Vec<Led> {
        let led = |task: &Task| {
            Some(Led {
                generation: task.generation.clone(),
                is_built: Some(&task.generation) == build,
                shown: task.shown.clone()?,
            })
        };
        self.followers.values().filter_map(led).collect()
    }
}

impl Task {
    fn start<W>(
        generation: Generation,
        observer: Observer,
        shown: Option<watch::Receiver<Shown>>,
        work: impl Fn(watch::Receiver<bool>) -> W + Send + 'static,
    ) -> Self
    where
        W: Future<Output = Result<(), WorkError>> + Send + 'static,
    {
        let stop = watch::Sender::new(false);
        let handle = tokio::spawn(supervise(work, observer.clone(), stop.subscribe()));
        Self { generation, observer, stop, handle, shown, accepted: 0 }
    }

    fn stop(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.handle
    }

    /// Ends all of them, each after the batch it is at.
    async fn stop_all(tasks: impl Iterator<Item = Self>) {
        let ended: Vec<JoinHandle<()>> = tasks.map(Self::stop).collect();
        for handle in ended {
            // Whoever is not done in time is dropped where it stands, which is as good as a crash.
            let abort = handle.abort_handle();
            if tokio::time::timeout(GRACE, handle).await.is_err() {
                abort.abort();
            }
        }
    }
}
