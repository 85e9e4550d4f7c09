use std::collections::BTreeMap;

use balcony_event_log::Positions;
use balcony_store::{Generation, GenerationState, ListedGeneration, Lost};
use serde::Serialize;
use uuid::Uuid;

use crate::lag::Lag;
use crate::moment::Moment;
use crate::report::{BatchMeans, Kind, RebuildState, State, StepState};

/// How every projection and reactor is doing.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    pub(super) projections: Vec<Diagnosed>,
    pub(super) log: DiagnosedLog,
    /// Reactors that are not run as this program is set, and nowhere else, with why.
    #[serde(skip)]
    pub(super) off: Vec<(String, String)>,
    /// The program.
    #[serde(skip)]
    pub(super) program: String,
}

/// What changes of a step over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Its name.
    pub name: String,
    /// The worst of its living workers' states; `dead` when all have died, `missing` when there are none.
    pub state: String,
    /// The generation that is live, if there is one.
    pub generation: Option<i64>,
    /// How many events it is behind, as far as that is known.
    pub lag_events: Option<i64>,
    /// How many seconds it is behind, as far as that is known.
    pub lag_seconds: Option<f64>,
    /// How many events it takes in a second.
    pub events_per_second: f64,
}

/// What there is to say about the log.
#[derive(Debug, Default, Serialize)]
pub(super) struct DiagnosedLog {
    /// Why it is ill, each with what to do.
    pub(super) complaints: Vec<String>,
    /// What is worth knowing and no illness.
    pub(super) notes: Vec<String>,
}

/// How one is doing.
#[derive(Debug, Serialize)]
pub(in crate::operations) struct Diagnosed {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The worst of its living workers' states; `dead` when all have died, `missing` when there are none.
    pub(super) state: String,
    pub(super) generation: Option<i64>,
    pub(super) version: Option<i64>,
    pub(super) lag: ShownLag,
    pub(super) events_per_second: f64,
    pub(super) batch: Option<BatchMeans>,
    /// Of its busiest worker.
    pub(super) busy: f64,
    pub(super) parked: i64,
    /// Offsets that the log had forgotten before they were read.
    pub(super) lost: i64,
    pub(super) positions: BTreeMap<String, BTreeMap<i32, i64>>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<Moment>,
    pub(super) rebuild: Option<RebuildState>,
    pub(super) workers: Vec<Seen>,
    /// What its workers run in.
    #[serde(skip)]
    kept_by: String,
    pub(super) ill: bool,
    /// Why it is ill, each with what to do.
    pub(super) complaints: Vec<String>,
    /// What is worth knowing and no illness.
    pub(super) notes: Vec<String>,
}

/// A lag as far as it is known.
#[derive(Debug, Default, Serialize)]
pub(super) struct ShownLag {
    pub(super) events: Option<i64>,
    pub(super) seconds: Option<f64>,
}

/// A worker that has told of itself.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    pub(super) id: Uuid,
    pub(super) is_alive: bool,
    pub(super) seen_seconds_ago: u64,
    #[serde(flatten)]
    pub(super) report: Option<StepState>,
}

/// What was found out about one.
pub(super) struct Facts {
    /// The program.
    pub(super) program: String,
    /// What its workers run in.
    pub(super) kept_by: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) live: Option<Generation>,
    pub(super) unfinished: Option<ListedGeneration>,
    /// The one seen last first.
    pub(super) seen: Vec<Seen>,
    pub(super) standing: Option<Standing>,
    /// Why there is none although a generation is live.
    pub(super) ruined: Option<String>,
}

/// What a live generation says of itself.
pub(super) struct Standing {
    pub(super) parked: i64,
    pub(super) lost: Vec<Lost>,
    pub(super) positions: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Or why it is not known.
    pub(super) lag: Result<Lag, String>,
}

impl Diagnosis {
    /// What changes over time, of every step.
    pub fn figures(&self) -> impl Iterator<Item = Figures> {
        self.projections.iter().map(|one| Figures {
            name: one.name.clone(),
            state: one.state.clone(),
            generation: one.generation,
            lag_events: one.lag.events,
            lag_seconds: one.lag.seconds,
            events_per_second: one.events_per_second,
        })
    }

    pub(super) fn ill(&self) -> impl Iterator<Item = &Diagnosed> {
        self.projections.iter().filter(|one| one.ill)
    }

    /// Whether a worker of this process has been seen.
    pub(super) fn is_seen(&self, pid: u32) -> bool {
        let reports = self.projections.iter().flat_map(|one| &one.workers).filter_map(|worker| worker.report.as_ref());
        reports.into_iter().any(|report| report.process.pid == pid)
    }

    /// What to say when nobody at all is alive.
    pub(super) fn nothing_runs(&self) -> Option<String> {
        let mut all = self.projections.iter().flat_map(|one| &one.workers);
        if all.clone().any(|worker| worker.is_alive) {
            return None;
        }
        let last = all.by_ref().map(|worker| worker.seen_seconds_ago).min();
        let dead: Vec<&str> =
            self.projections.iter().filter(|one| !one.workers.is_empty()).map(|one| one.name.as_str()).collect();
        let program = &self.program;
        Some(match last {
            Some(seconds) => format!(
                "nothing is running, and whoever worked on {} died, seen last {seconds} s ago; start {program}",
                dead.join(", ")
            ),
            None => format!("nothing is running; start {program}"),
        })
    }
}

impl Diagnosed {
    pub(super) fn of(facts: Facts) -> Self {
        let Facts { program, kept_by, name, kind, live, unfinished, seen, standing, ruined } = facts;
        let reports = |alive: bool| {
            seen.iter().filter(move |seen| seen.is_alive == alive).filter_map(|seen| seen.report.as_ref())
        };
        let busiest = reports(true).max_by(|one, other| one.busy.total_cmp(&other.busy));
        let failing = reports(true).chain(reports(false)).filter(|report| report.last_error.is_some());
        let failing = failing.max_by_key(|report| report.last_error_at);
        let reported = reports(true).next();
        let (parked, lost, positions, lag) = match standing {
            Some(Standing { parked, lost, positions, lag }) => (parked, lost, positions, Some(lag)),
            None => (
                reported.map_or(0, |report| report.parked),
                Vec::new(),
                reported.map(|report| report.positions.clone()).unwrap_or_default(),
                reported.and_then(|report| report.lag).map(Ok),
            ),
        };
        let mut diagnosed = Self {
            kind,
            state: state(&seen),
            generation: live.as_ref().map(|live| live.number),
            version: live.as_ref().map(|live| live.version),
            lag: match &lag {
                Some(Ok(lag)) => ShownLag { events: Some(lag.events), seconds: lag.seconds },
                _ => ShownLag::default(),
            },
            // The sum of nothing is -0.
            events_per_second: reports(true).map(|report| report.events_per_second).sum::<f64>() + 0.0,
            batch: busiest.and_then(|report| report.batch),
            busy: busiest.map_or(0.0, |report| report.busy),
            parked,
            lost: lost.iter().map(Lost::count).sum(),
            positions,
            last_error: failing.and_then(|report| report.last_error.clone()),
            last_error_at: failing.and_then(|report| report.last_error_at),
            rebuild: unfinished.as_ref().map(rebuild),
            kept_by,
            ill: false,
            complaints: Vec::new(),
            notes: Vec::new(),
            workers: seen,
            name,
        };
        diagnosed.complaints = diagnosed.complaints(&program, unfinished.as_ref());
        if let Some(ruined) = ruined {
            let name = &diagnosed.name;
            let remedy = match kind {
                Kind::Projection | Kind::Replica => format!("{program} rebuild {name} makes them anew"),
                Kind::Reactor | Kind::Intake => {
                    "restore them from a backup, since nothing else says what was delivered".to_owned()
                }
            };
            diagnosed.complaints.insert(0, format!("{ruined}: {remedy}"));
        }
        diagnosed.notes = diagnosed.notes(lag.and_then(Result::err));
        diagnosed.notes.extend(lost.iter().map(lost_note));
        diagnosed.ill = !diagnosed.complaints.is_empty();
        diagnosed
    }

    fn complaints(&self, program: &str, unfinished: Option<&ListedGeneration>) -> Vec<String> {
        let mut complaints = Vec::new();
        let error = self.last_error.as_deref().unwrap_or("it does not say why");
        match self.state.as_str() {
            DEAD => {
                let seconds = self.workers.iter().map(|worker| worker.seen_seconds_ago).min().unwrap_or_default();
                complaints.push(format!("no worker has been seen for {seconds} s: is a {} running?", self.kept_by));
            }
            MISSING => complaints.push(format!("no worker has been seen: is a {} running?", self.kept_by)),
            state if state == State::Failed.as_str() => {
                complaints.push(format!("it fails and is started again by itself: {error}"));
            }
            state if state == State::Stopped.as_str() => complaints.push(format!("it has stopped: {error}")),
            _ => {
                let reports = self.workers.iter().filter(|seen| seen.is_alive).filter_map(|seen| seen.report.as_ref());
                if let Some(seconds) = reports.filter_map(|report| report.troubled_seconds).max()
                    && seconds >= TROUBLED_FOR
                {
                    complaints.push(format!(
                        "it has been in trouble for {seconds} s, and goes on by itself once that is over: {error}"
                    ));
                }
            }
        }
        if self.parked > 0 {
            let name = &self.name;
            complaints.push(format!("{} parked: {program} parked list --projection {name}", self.parked));
        }
        if let Some(failed) = unfinished.filter(|unfinished| unfinished.state == GenerationState::Failed) {
            let error = failed.error.as_deref().unwrap_or("it does not say why");
            complaints.push(format!("generation {} could not be built: {error}", failed.generation.number));
        } else if let Some(rebuild) = self.rebuild.as_ref().filter(|rebuild| rebuild.attempts >= IN_VAIN) {
            let RebuildState { generation, state, attempts, error, .. } = rebuild;
            let error = error.as_deref().unwrap_or("it does not say why");
            complaints.push(format!(
                "generation {generation} does not get on ({state}) and was tried in vain {attempts} times, the last \
                 because {error}; it is tried again by itself"
            ));
        }
        complaints
    }

    fn notes(&self, lag_error: Option<String>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.state == State::Waiting.as_str() {
            notes.push(format!("it waits: {}", self.last_error.as_deref().unwrap_or("it does not say why")));
        }
        if let Some(error) = lag_error {
            notes.push(format!("its lag is not known: {error}"));
        }
        if self.workers.iter().any(|worker| worker.is_alive) {
            for dead in self.workers.iter().filter(|worker| !worker.is_alive) {
                let process = dead.report.as_ref().map(|report| &report.process);
                let place = process.map(|process| format!(" on {}, pid {},", process.host, process.pid));
                let (place, seconds) = (place.unwrap_or_default(), dead.seen_seconds_ago);
                notes.push(format!("a worker{place} has not been seen for {seconds} s; others go on"));
            }
        }
        let is_built =
            |rebuild: &&RebuildState| rebuild.state != GenerationState::Failed.as_str() && rebuild.attempts < IN_VAIN;
        if let Some(rebuild) = self.rebuild.as_ref().filter(is_built) {
            notes.push(format!("generation {} is being built: {}", rebuild.generation, rebuild.state));
        }
        notes
    }
}

/// For how many seconds something may go wrong again and again before that is an illness.
const TROUBLED_FOR: u64 = 30;
/// After how many attempts a build that does not get on is an illness.
const IN_VAIN: i64 = 3;

impl DiagnosedLog {
    /// Of a log with these partitions that are not used, and where they end; `complaints` are its own.
    pub(super) fn of(unused: &Positions, complaints: Vec<String>) -> Self {
        let mut diagnosed = Self { complaints, notes: Vec::new() };
        let mut added: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
        for (partition, end) in unused {
            let (count, records) = added.entry(&partition.topic).or_default();
            (*count, *records) = (*count + 1, *records + end);
        }
        for (topic, (count, records)) in added {
            diagnosed.notes.push(format!(
                "{topic} has got {count} more partitions than the installation was founded with: they stay empty, because \
                 a key's records belong in one partition; for more, export and import into a new installation"
            ));
            if records > 0 {
                diagnosed.complaints.push(format!(
                    "{topic} has {records} records in partitions that nobody reads: whoever wrote them has to write to the \
                     partitions that are used"
                ));
            }
        }
        diagnosed
    }
}

fn lost_note(lost: &Lost) -> String {
    let Lost { partition, first_offset, next_offset } = lost;
    format!(
        "the log had forgotten {} offsets of {}/{}, from {first_offset} to below {next_offset}, before they were read: they \
         are in no row, and it goes on without them",
        lost.count(),
        partition.topic,
        partition.partition
    )
}

const DEAD: &str = "dead";
const MISSING: &str = "missing";

fn state(seen: &[Seen]) -> String {
    let alive = seen.iter().filter(|seen| seen.is_alive);
    let worst = alive
        .clone()
        .filter_map(|seen| seen.report.as_ref())
        .map(|report| report.state)
        .max_by_key(|state| state.severity());
    match worst {
        Some(worst) => worst.as_str(),
        None if alive.count() > 0 => "unknown",
        None if seen.is_empty() => MISSING,
        None => DEAD,
    }
    .to_owned()
}

fn rebuild(listed: &ListedGeneration) -> RebuildState {
    RebuildState {
        generation: listed.generation.number,
        version: listed.generation.version,
        state: listed.state.to_string(),
        error: listed.error.clone(),
        attempts: listed.attempts,
    }
}

#[cfg(test)]
mod tests {
    use balcony_event_log::TopicPartition;
    use balcony_store::BuildOptions;

    use super::*;
    use crate::report::Process;

    fn worker(seconds_ago: u64, state: State, error: Option<&str>) -> Seen {
        let report = StepState {
            name: "things".into(),
            kind: Kind::Projection,
            state,
            generation: 1,
            version: 1,
            events: 0,
            events_per_second: 2.5,
            batch: None,
            busy: 0.25,
            positions: BTreeMap::new(),
            lag: None,
            parked: 0,
            last_error: error.map(str::to_owned),
            last_error_at: error.map(|_| "1970-01-01T00:00:00.001Z".parse().expect("a time")),
            troubled_seconds: error.map(|_| 29),
            rebuild: None,
            process: Process { host: "here".into(), pid: 7 },
        };
        let is_alive = seconds_ago < 12;
        Seen { id: Uuid::nil(), is_alive, seen_seconds_ago: seconds_ago, report: Some(report) }
    }

    fn facts(seen: Vec<Seen>) -> Facts {
        let lag = Ok(Lag { events: 5, seconds: Some(1.5) });
        Facts {
            program: "orders".into(),
            kept_by: "projector".into(),
            name: "things".into(),
            kind: Kind::Projection,
            live: Some(Generation::called("things", 1, 1)),
            unfinished: None,
            seen,
            standing: Some(Standing { parked: 0, lost: Vec::new(), positions: BTreeMap::new(), lag }),
            ruined: None,
        }
    }

    fn state_and_complaints(facts: Facts) -> (String, String) {
        let diagnosed = Diagnosed::of(facts);
        assert_eq!(diagnosed.ill, !diagnosed.complaints.is_empty());
        (diagnosed.state, diagnosed.complaints.join("; "))
    }

    #[test]
    fn who_waits_or_fails_for_long_is_ill() {
        let troubled = |state, seconds| {
            let mut worker = worker(1, state, Some("no broker answers"));
            worker.report.as_mut().expect("a report").troubled_seconds = Some(seconds);
            Diagnosed::of(facts(vec![worker]))
        };
        for state in [State::Waiting, State::Running] {
            assert!(!troubled(state, 29).ill);
            let ill = troubled(state, 95);
            let said = "it has been in trouble for 95 s, and goes on by itself once that is over: no broker answers";
            assert_eq!((ill.ill, ill.complaints.as_slice()), (true, &[said.to_owned()][..]));
        }
    }

    #[test]
    fn workers_that_work_are_well_although_they_lag() {
        let diagnosed = Diagnosed::of(facts(vec![
            worker(1, State::Running, None),
            worker(2, State::Waiting, Some("away")),
            worker(30, State::Running, None),
        ]));
        assert_eq!((diagnosed.state.as_str(), diagnosed.ill, diagnosed.events_per_second), ("waiting", false, 5.0));
        assert_eq!((diagnosed.lag.events, diagnosed.last_error.as_deref()), (Some(5), Some("away")));
        assert_eq!(diagnosed.notes.len(), 2, "{:?}", diagnosed.notes);
        assert!(diagnosed.notes[1].contains("here, pid 7"), "{:?}", diagnosed.notes);
    }

    #[test]
    fn what_nobody_works_on_is_ill() {
        let (state, complaints) = state_and_complaints(facts(Vec::new()));
        assert!(state == "missing" && complaints.contains("is a projector running?"), "{state}: {complaints}");
        let (_, complaints) = state_and_complaints(Facts { kept_by: "query API".into(), ..facts(Vec::new()) });
        assert!(complaints.contains("is a query API running?"), "{complaints}");
        let dead = facts(vec![worker(14, State::Running, None), worker(60, State::Running, None)]);
        let (state, complaints) = state_and_complaints(dead);
        assert!(state == "dead" && complaints.contains("for 14 s"), "{state}: {complaints}");
    }

    #[test]
    fn what_needs_somebody_is_ill_and_says_why() {
        let stopped = facts(vec![worker(1, State::Running, None), worker(1, State::Stopped, Some("too many"))]);
        assert_eq!(state_and_complaints(stopped), ("stopped".into(), "it has stopped: too many".into()));
        let mut parked = facts(vec![worker(1, State::Running, None)]);
        parked.standing.as_mut().expect("there is one").parked = 3;
        let (_, complaints) = state_and_complaints(parked);
        assert_eq!(complaints, "3 parked: orders parked list --projection things");
        let generation = Generation::called("things", 2, 1);
        let building = |state, error: Option<&str>, attempts| {
            let options = BuildOptions::default();
            let unfinished = ListedGeneration {
                generation: generation.clone(),
                state,
                error: error.map(str::to_owned),
                attempts,
                accepted: 0,
                options,
            };
            Facts { unfinished: Some(unfinished), ..facts(vec![worker(1, State::Running, None)]) }
        };
        let (_, complaints) = state_and_complaints(building(GenerationState::Failed, Some("it differs"), 0));
        assert_eq!(complaints, "generation 2 could not be built: it differs");
        assert_eq!(state_and_complaints(building(GenerationState::Copying, None, 0)).1, "");
        assert_eq!(state_and_complaints(building(GenerationState::Copying, Some("no room"), 2)).1, "");
        let (_, complaints) = state_and_complaints(building(GenerationState::Copying, Some("no room"), 3));
        assert!(complaints.contains("(copying)") && complaints.contains("3 times, the last because no room"));
        let ruined = Facts { standing: None, ruined: Some("they are lost".into()), ..facts(Vec::new()) };
        let (_, complaints) = state_and_complaints(ruined);
        assert!(complaints.starts_with("they are lost: orders rebuild things makes them anew; "), "{complaints}");
    }

    #[test]
    fn what_was_lost_is_counted_and_is_no_illness() {
        let mut lost = facts(vec![worker(1, State::Running, None)]);
        let partition = TopicPartition::new("events", 3);
        lost.standing.as_mut().expect("there is one").lost =
            vec![Lost { partition, first_offset: 12, next_offset: 15 }];
        let diagnosed = Diagnosed::of(lost);
        assert_eq!((diagnosed.lost, diagnosed.ill), (3, false));
        assert!(diagnosed.notes[0].contains("3 offsets of events/3, from 12 to below 15"), "{:?}", diagnosed.notes);
    }

    #[test]
    fn partitions_that_were_added_are_named_and_records_in_them_are_an_illness() {
        let unused = |end| -> Positions { (6..8).map(|number| (TopicPartition::new("events", number), end)).collect() };
        assert!(DiagnosedLog::of(&Positions::new(), Vec::new()).notes.is_empty());
        let empty = DiagnosedLog::of(&unused(0), Vec::new());
        assert!(empty.notes[0].starts_with("events has got 2 more partitions") && empty.complaints.is_empty());
        assert!(DiagnosedLog::of(&unused(2), Vec::new()).complaints[0].starts_with("events has 4 records"));
    }

    #[test]
    fn when_nobody_is_alive_that_is_said_in_one_line() {
        let of = |seen| Diagnosis {
            projections: vec![Diagnosed::of(facts(seen))],
            log: DiagnosedLog::default(),
            off: Vec::new(),
            program: "orders".into(),
        };
        assert_eq!(of(vec![worker(1, State::Running, None)]).nothing_runs(), None);
        let dead = of(vec![worker(14, State::Running, None)]).nothing_runs().expect("nobody is alive");
        assert!(dead.contains("things died, seen last 14 s ago"), "{dead}");
        assert_eq!(of(Vec::new()).nothing_runs().as_deref(), Some("nothing is running; start orders"));
    }
}
