use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::StoreError;

/// One generation of a read model: a schema with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generation {
    /// The read model's name.
    pub projection: String,
    /// Counted from 1.
    pub number: i64,
    /// The version of the read model that it was made for.
    pub version: i64,
    /// The name of its schema in PostgreSQL and, with `.db` behind it, of its file in SQLite.
    pub schema: String,
}

/// What a generation is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationState {
    /// Rows are copied from the log; secondary indexes are missing.
    Copying,
    /// Secondary indexes are made.
    Indexing,
    /// It is compared with the live generation.
    Verifying,
    /// It is complete and follows the log beside the live one until it is switched to.
    Following,
    /// Its build cannot go on by itself.
    Failed,
    /// Readers of its version read it.
    Live,
    /// It was live before.
    Retired,
}

/// A generation and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGeneration {
    /// Which one.
    pub generation: Generation,
    /// What it is there for.
    pub state: GenerationState,
    /// Why its build failed, or was tried in vain the last time.
    pub error: Option<String>,
    /// How often it was tried in vain since it came on last.
    pub attempts: i64,
    /// How often an operator accepted what had failed in it.
    pub accepted: i64,
    /// How it is built.
    pub options: BuildOptions,
}

/// How a generation is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Generations that nobody needs any more are kept when it becomes live.
    pub keep_old: bool,
    /// A record that cannot be applied is parked; otherwise it stops the build.
    pub park_failures: bool,
    /// It becomes live although it differs from the live generation.
    pub allow_differences: bool,
}

impl GenerationState {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::Copying, "copying"),
        (Self::Indexing, "indexing"),
        (Self::Verifying, "verifying"),
        (Self::Following, "following"),
        (Self::Failed, "failed"),
        (Self::Live, "live"),
        (Self::Retired, "retired"),
    ];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map(|(_, name)| *name).expect("every state has a name")
    }

    /// Whether it is still to become live.
    pub fn is_unfinished(self) -> bool {
        !matches!(self, Self::Live | Self::Retired)
    }
}

impl Display for GenerationState {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GenerationState {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text).map(|(state, _)| *state);
        found.ok_or_else(|| StoreError::Misconfigured(format!("{text:?} is no state of a generation")))
    }
}

impl Generation {
    /// The name of its schema in PostgreSQL, of its file in SQLite. No two generations of an installation have one
    /// name, whatever they are of.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// One that is in no database, for tests of what is said about generations.
    #[cfg(feature = "testing")]
    pub fn called(projection: &str, number: i64, version: i64) -> Self {
        Self { projection: projection.to_owned(), number, version, schema: format!("{projection}_{number}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back() {
        for (state, name) in GenerationState::NAMES {
            assert_eq!(name.parse::<GenerationState>().ok(), Some(state));
        }
        assert!("other".parse::<GenerationState>().is_err());
    }
}
