use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::database::Backend;
use crate::{Database, StoreError, Tx, postgres, sqlite};

/// A read model as its projection describes it.
#[derive(Debug, Clone, Copy)]
pub struct ReadModel {
    /// Its name: lower-case letters, digits and dashes, the first part of its namespaces' names.
    pub name: &'static str,
    /// Grows with every change of its tables or of what is written into them.
    pub version: u32,
    /// The SQL that makes its tables and indexes. Statements that begin with `CREATE INDEX` or `CREATE UNIQUE INDEX`
    /// are left to the end of a rebuild: what `apply` needs to find rows and conflicts belongs into the tables, as
    /// primary keys and constraints.
    pub schema: &'static str,
}

/// One generation of a read model: a namespace with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generation {
    /// The read model's name.
    pub projection: String,
    /// Counted from 1.
    pub number: i64,
    /// The version of the read model that it was made for.
    pub version: i64,
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
    /// Readers read it.
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
    /// Why its build failed.
    pub error: Option<String>,
    /// How it is built.
    pub options: BuildOptions,
}

/// How a generation is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Generations that are retired already are kept when it becomes live.
    pub keep_old: bool,
    /// A record that cannot be applied is parked; otherwise it stops the build.
    pub park_failures: bool,
    /// It becomes live although it differs from the live generation.
    pub allow_differences: bool,
}

const GENERATION_SCHEMA: &str = include_str!("../../migrations/generation.sql");

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
    /// The name of its schema, and of its file when attached.
    pub fn namespace(&self) -> String {
        format!("{}_{}", self.projection.replace('-', "_"), self.number)
    }
}

impl Database {
    /// The live generation of `model`; where there is none yet, an empty one is made. Several processes may ask at
    /// once.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when the live generation was made for another version of the read model.
    pub async fn live_or_new(&self, model: &ReadModel) -> Result<Generation, StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(model.name)).await?;
        let live = listed.into_iter().find(|listed| listed.state == GenerationState::Live);
        let generation = match live {
            Some(live) => live.generation,
            None => self.create(&mut tx, model, GenerationState::Live, BuildOptions::default()).await?,
        };
        tx.commit().await?;

        if generation.version != i64::from(model.version) {
            return Err(StoreError::Misconfigured(format!(
                "the read model {} is there in version {}, this program has version {}; run the version that made it",
                model.name, generation.version, model.version
            )));
        }
        self.progress().generations_changed();
        Ok(generation)
    }

    /// Every generation there is, of one read model or of all, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn generations(&self, projection: Option<&str>) -> Result<Vec<ListedGeneration>, StoreError> {
        let mut tx = self.look().await?;
        list(&mut tx, projection).await
    }

    /// A transaction in which nobody else changes the set of generations.
    pub(crate) async fn begin_on_generations(&self) -> Result<Tx, StoreError> {
        let mut tx = self.begin().await?;
        if let Tx::Postgres(tx) = &mut tx {
            postgres::lock_generations(tx).await?;
        }
        Ok(tx)
    }

    /// Makes a generation's namespace with empty tables; their indexes too when it is live at once. On SQLite its
    /// file is complete before the row that names it is kept: a file without a row is left over from a crash and
    /// made anew.
    pub(crate) async fn create(
        &self,
        tx: &mut Tx,
        model: &ReadModel,
        state: GenerationState,
        options: BuildOptions,
    ) -> Result<Generation, StoreError> {
        let (number,): (i64,) = tx
            .fetch(
                "INSERT INTO generation_numbers (projection, last) VALUES ($1, 1)
                 ON CONFLICT (projection) DO UPDATE SET last = generation_numbers.last + 1 RETURNING last",
                &[model.name.into()],
            )
            .await?
            .remove(0);
        let generation = Generation { projection: model.name.to_owned(), number, version: model.version.into() };
        tx.execute(
            "INSERT INTO generations
                 (projection, generation, version, state, keep_old, park_failures, allow_differences)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                model.name.into(),
                generation.number.into(),
                generation.version.into(),
                state.as_str().into(),
                i64::from(options.keep_old).into(),
                i64::from(options.park_failures).into(),
                i64::from(options.allow_differences).into(),
            ],
        )
        .await?;

        let (tables, indexes) = statements(model.schema);
        let statements = if state == GenerationState::Live { [tables, indexes].concat() } else { tables };
        match (&self.backend, &mut *tx) {
            (Backend::Sqlite { directory, .. }, _) => {
                sqlite::remove(directory, &generation).map_err(sqlx::Error::Io)?;
                let mut tx = self.durable_writer(&generation).begin().await?;
                tx.script(GENERATION_SCHEMA).await?;
                for statement in statements {
                    tx.script(statement).await?;
                }
                tx.commit().await?;
            }
            (Backend::Postgres { .. }, Tx::Postgres(connection)) => {
                postgres::create_schema(connection, &generation).await?;
                tx.script(GENERATION_SCHEMA).await?;
                for statement in statements {
                    tx.script(statement).await?;
                }
            }
            (Backend::Postgres { .. }, Tx::Sqlite(_)) => unreachable!("a database's transactions are of its own kind"),
        }
        Ok(generation)
    }

    /// The live generations of `projections`, in their order.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] names the first that has none.
    pub(crate) async fn live(&self, projections: &[&'static str]) -> Result<Vec<Generation>, StoreError> {
        let mut listed = self.generations(None).await?;
        listed.retain(|listed| listed.state == GenerationState::Live);
        projections
            .iter()
            .map(|&projection| {
                let live = listed.iter().find(|listed| listed.generation.projection == projection);
                live.map(|live| live.generation.clone()).ok_or_else(|| StoreError::NotReady(projection.to_owned()))
            })
            .collect()
    }
}

type GenerationRow = (String, i64, i64, String, Option<String>, i64, i64, i64);

/// Every generation, of one read model or of all, oldest first.
pub(crate) async fn list(tx: &mut Tx, projection: Option<&str>) -> Result<Vec<ListedGeneration>, StoreError> {
    let rows: Vec<GenerationRow> = tx
        .fetch(
            "SELECT projection, generation, version, state, error, keep_old, park_failures, allow_differences
             FROM generations WHERE projection = $1 OR $1 IS NULL ORDER BY projection, generation",
            &[projection.into()],
        )
        .await?;
    rows.into_iter()
        .map(|(projection, number, version, state, error, keep_old, park_failures, allow_differences)| {
            let options = BuildOptions {
                keep_old: keep_old != 0,
                park_failures: park_failures != 0,
                allow_differences: allow_differences != 0,
            };
            let generation = Generation { projection, number, version };
            Ok(ListedGeneration { generation, state: state.parse()?, error, options })
        })
        .collect()
}

/// The statements of a schema, each ending at the end of a line: those that make tables, and those that make secondary
/// indexes.
pub(crate) fn statements(schema: &'static str) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut tables, mut indexes) = (Vec::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    let mut is_index = None;
    for line in schema.split_inclusive('\n') {
        end += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with("--") {
            continue;
        }
        let index = *is_index.get_or_insert_with(|| {
            let line = line.to_ascii_uppercase();
            line.starts_with("CREATE INDEX") || line.starts_with("CREATE UNIQUE INDEX")
        });
        if line.ends_with(';') {
            if index { &mut indexes } else { &mut tables }.push(&schema[start..end]);
            start = end;
            is_index = None;
        }
    }
    if start < end {
        tables.push(&schema[start..]);
    }
    (tables, indexes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_told_from_tables() {
        let schema = "-- Things; of all kinds.\nCREATE TABLE things (id BIGINT);\n\n-- By id.\nCREATE INDEX a ON things (id);\n\
                      create unique index b ON things (id);\n";
        let (tables, indexes) = statements(schema);
        assert_eq!((tables.len(), indexes.len()), (1, 2));
        assert!(tables[0].contains("CREATE TABLE things") && indexes[0].contains("CREATE INDEX a"));
    }

    #[test]
    fn every_state_is_read_back() {
        for (state, name) in GenerationState::NAMES {
            assert_eq!(name.parse::<GenerationState>().ok(), Some(state));
        }
        assert!("other".parse::<GenerationState>().is_err());
    }
}
