use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::lag::Lag;
use crate::moment::Moment;

/// What a step is doing in one process, as operators see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepState {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it is doing.
    pub state: State,
    /// The generation it writes; 0 before there is one.
    pub generation: i64,
    /// The version of its read model.
    pub version: u32,
    /// Events applied since this process started to write that generation.
    pub events: u64,
    /// Events applied a second, over the last ten seconds.
    pub events_per_second: f64,
    /// Batches of the last ten seconds; none when there were none.
    pub batch: Option<BatchMeans>,
    /// The share of the last ten seconds that was spent on applying events, from 0 to 1.
    pub busy: f64,
    /// How far it has come in the partitions that this process holds, by topic.
    pub positions: BTreeMap<String, BTreeMap<i32, i64>>,
    /// How far the live generation is behind the log, in all partitions; none while that is not known.
    pub lag: Option<Lag>,
    /// Records parked in the generation.
    pub parked: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Moment>,
    /// For how many seconds things have gone wrong again and again, where they still do.
    #[serde(default)]
    pub troubled_seconds: Option<u64>,
    /// The generation that is built beside it.
    pub rebuild: Option<RebuildState>,
    /// Where it runs.
    #[serde(flatten)]
    pub process: Process,
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Writes rows in the database.
    // What programs wrote here for both kinds that have a read model, before these were told apart.
    #[serde(alias = "projector")]
    Projection,
    /// Writes a store of its own, whose commit carries the positions.
    Replica,
    /// Acts on the world outside.
    Reactor,
    /// Takes into the log what is outside.
    Intake,
}

/// What a step is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not yet assigned a partition, or its first generation is being built.
    Starting,
    /// Applying events, or waiting for more.
    Running,
    /// Waiting for the log or the database to come back.
    Waiting,
    /// Failed. It is started again after a while.
    Failed,
    /// Stopped, because too many records failed, or because its generation is of another version. Somebody has to
    /// look.
    Stopped,
}

/// The mean batch of a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchMeans {
    /// Events in a batch.
    pub events: f64,
    /// Milliseconds it took to apply.
    pub milliseconds: f64,
}

/// How far the build of a generation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildState {
    /// Its number.
    pub generation: i64,
    /// Its version.
    pub version: i64,
    /// Copying, indexing, verifying, following, failed.
    pub state: String,
    /// Why it failed, or was tried in vain the last time.
    pub error: Option<String>,
    /// How often it was tried in vain since it came on last.
    #[serde(default)]
    pub attempts: i64,
}

/// One process among all that may run on an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The name of its machine.
    pub host: String,
    /// Its id there.
    pub pid: u32,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Projection => "projection",
            Self::Replica => "replica",
            Self::Reactor => "reactor",
            Self::Intake => "intake",
        }
    }
}

impl State {
    /// Every state, the best first.
    pub const ALL: [Self; 5] = [Self::Running, Self::Starting, Self::Waiting, Self::Failed, Self::Stopped];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it is one of those that something wrong leads to.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(self, Self::Waiting | Self::Failed | Self::Stopped)
    }

    /// How bad it is: 0 is well, and the worse the more.
    pub fn severity(self) -> usize {
        Self::ALL.iter().position(|state| *state == self).expect("every state is among all")
    }
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        static HOST: OnceLock<String> = OnceLock::new();
        let host = HOST.get_or_init(|| {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
        });
        Self { host: host.clone(), pid: std::process::id() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_goes_by_the_name_that_json_has() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).expect("a name"), state.as_str());
        }
        assert_eq!((State::Running.severity(), State::Stopped.severity()), (0, 4));
    }

    #[test]
    fn every_kind_goes_by_the_name_that_json_has_and_that_of_earlier_programs_is_read() {
        for kind in [Kind::Projection, Kind::Replica, Kind::Reactor, Kind::Intake] {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.as_str());
        }
        assert_eq!(serde_json::from_str::<Kind>("\"projector\"").expect("a kind"), Kind::Projection);
    }
}
