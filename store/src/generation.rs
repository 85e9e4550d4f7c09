use crate::database::Backend;
use crate::{Database, StoreError, Tx, postgres, sqlite};

/// A read model as its projection describes it.
#[derive(Debug, Clone, Copy)]
pub struct ReadModel {
    /// Its name: lower-case letters, the first part of its namespaces' names.
    pub name: &'static str,
    /// Grows with every change of its tables or of what is written into them.
    pub version: u32,
    /// The SQL that makes its tables and indexes.
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

const GENERATION_SCHEMA: &str = include_str!("../../migrations/generation.sql");

impl Generation {
    /// The name of its schema, and of its file when attached.
    pub fn namespace(&self) -> String {
        format!("{}_{}", self.projection, self.number)
    }
}

impl Database {
    /// The live generation of `model`; where there is none yet, one is made. Several processes may ask at once.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when the live generation was made for another version of the read model.
    pub async fn live_or_new(&self, model: &ReadModel) -> Result<Generation, StoreError> {
        let mut tx = self.begin().await?;
        if let Tx::Postgres(tx) = &mut tx {
            postgres::lock_generations(tx).await?;
        }
        let generation = match live(&mut tx, model.name).await? {
            Some(generation) => generation,
            None => self.create(&mut tx, model).await?,
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

    /// Makes a generation's namespace with empty tables and makes it live. On SQLite its file is complete before the
    /// row that names it is kept: a file without a row is left over from a crash and made anew.
    async fn create(&self, tx: &mut Tx, model: &ReadModel) -> Result<Generation, StoreError> {
        let (last,): (i64,) = tx
            .fetch("SELECT COALESCE(MAX(generation), 0) FROM generations WHERE projection = $1", &[model.name.into()])
            .await?
            .remove(0);
        let generation =
            Generation { projection: model.name.to_owned(), number: last + 1, version: model.version.into() };
        tx.execute(
            "INSERT INTO generations (projection, generation, version, state) VALUES ($1, $2, $3, 'live')",
            &[model.name.into(), generation.number.into(), generation.version.into()],
        )
        .await?;

        match (&self.backend, &mut *tx) {
            (Backend::Sqlite { directory, .. }, _) => {
                sqlite::remove(directory, &generation).map_err(sqlx::Error::Io)?;
                let mut tx = self.writer(&generation).begin().await?;
                tx.script(GENERATION_SCHEMA).await?;
                tx.script(model.schema).await?;
                tx.commit().await?;
            }
            (Backend::Postgres { .. }, Tx::Postgres(connection)) => {
                postgres::create_schema(connection, &generation).await?;
                tx.script(GENERATION_SCHEMA).await?;
                tx.script(model.schema).await?;
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
        let mut tx = self.begin().await?;
        let mut generations = Vec::with_capacity(projections.len());
        for &projection in projections {
            let generation = live(&mut tx, projection).await?;
            generations.push(generation.ok_or_else(|| StoreError::NotReady(projection.to_owned()))?);
        }
        Ok(generations)
    }
}

async fn live(tx: &mut Tx, projection: &str) -> Result<Option<Generation>, StoreError> {
    let rows: Vec<(i64, i64)> = tx
        .fetch(
            "SELECT generation, version FROM generations WHERE projection = $1 AND state = 'live'",
            &[projection.into()],
        )
        .await?;
    let generation =
        rows.first().map(|&(number, version)| Generation { projection: projection.to_owned(), number, version });
    Ok(generation)
}
