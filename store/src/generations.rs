use crate::listing::list;
use crate::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError, Tx, Writer};

/// What every generation holds beside its read model's tables.
const GENERATION_SCHEMA: &str = include_str!("../../migrations/generation.sql");

/// The generations of one read model, held: until this is dropped, none is made, switched to or dropped. Whoever holds
/// checkpoints as well takes this hold first, as a switch does.
#[derive(Debug)]
pub struct HeldGenerations {
    listed: Vec<ListedGeneration>,
    _held: Tx,
}

impl HeldGenerations {
    /// The live one of `version`.
    pub fn live(&self, version: u32) -> Option<&Generation> {
        live(&self.listed, version.into())
    }

    /// The live one of the newest version that has one.
    pub fn newest_live(&self) -> Option<&Generation> {
        let live = self.listed.iter().filter(|listed| listed.state == GenerationState::Live);
        live.map(|listed| &listed.generation).max_by_key(|live| live.version)
    }

    /// The one of `version` that is still to become live, be it being built or failed.
    pub fn unfinished(&self, version: u32) -> Option<&ListedGeneration> {
        let own = |listed: &&ListedGeneration| listed.generation.version == i64::from(version);
        self.listed.iter().filter(own).find(|listed| listed.state.is_unfinished())
    }
}

impl Database {
    /// The live generation of the version of `model`; where the read model has no live one at all yet, an empty one is
    /// made. Several processes may ask at once.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when only other versions of the read model are live: this one is to be built
    /// ([`Database::begin_build`]), since an empty one would be read.
    pub async fn live_or_new(&self, model: &ReadModel) -> Result<Generation, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(&model.name)).await?;
        if let Some(live) = live(&listed, model.version.into()) {
            return Ok(live.clone());
        }
        if let Some(other) = listed.iter().find(|listed| listed.state == GenerationState::Live) {
            return Err(StoreError::Misconfigured(format!(
                "the read model {} is there in version {}, this program has version {}, which is not built yet",
                model.name, other.generation.version, model.version
            )));
        }
        let generation = self.create(&mut tx, model, GenerationState::Live, BuildOptions::default()).await?;
        tx.commit().await?;
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

    /// Whether what this crate keeps in `generation` is there: somebody may have dropped its schema, or removed its
    /// file.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn is_there(&self, generation: &Generation) -> Result<bool, StoreError> {
        if !self.backend.has_file(generation.schema()) {
            return Ok(false);
        }
        let mut tx = self.look_at(generation).await?;
        match tx.checkpoints().await {
            Err(error) if error.is_missing_table() => return Ok(false),
            found => found?,
        };
        match tx.parked_count().await {
            Err(error) if error.is_missing_table() => Ok(false),
            found => found.map(|_| true),
        }
    }

    /// Says that an operator has had what failed in `generation` set aside, so that whoever stopped at it begins again.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn failures_are_accepted(&self, generation: &Generation) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.execute(
            "UPDATE generations SET accepted = accepted + 1 WHERE projection = $1 AND generation = $2",
            &[generation.projection.as_str().into(), generation.number.into()],
        )
        .await?;
        tx.commit().await?;
        self.progress().generations_changed();
        Ok(())
    }

    /// Holds the generations of `projection`.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn hold_generations(&self, projection: &str) -> Result<HeldGenerations, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        Ok(HeldGenerations { listed, _held: tx })
    }

    /// Makes what `script` makes and may be there already (`CREATE TABLE IF NOT EXISTS`) beside the tables that `writer`
    /// writes, which are of a generation of `projection` and were made by a version that did not have it.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn add_tables(&self, projection: &str, writer: &Writer, script: &str) -> Result<(), StoreError> {
        // One process at a time: two that make one table at once fail.
        let _held = self.hold_generations(projection).await?;
        let mut tx = writer.begin().await?;
        tx.schema_statement(script).await?;
        tx.commit().await
    }

    /// Makes a generation with empty tables; their indexes too when it is live at once.
    pub(crate) async fn create(
        &self,
        tx: &mut Tx,
        model: &ReadModel,
        state: GenerationState,
        options: BuildOptions,
    ) -> Result<Generation, StoreError> {
        let projection = &*model.name;
        let (number,): (i64,) = tx
            .fetch(
                "INSERT INTO generation_numbers (projection, last) VALUES ($1, 1)
                 ON CONFLICT (projection) DO UPDATE SET last = generation_numbers.last + 1 RETURNING last",
                &[projection.into()],
            )
            .await?
            .remove(0);
        let schema = model.schema_name(&self.namespace, number)?;
        let generation =
            Generation { projection: projection.to_owned(), number, version: model.version.into(), schema };
        tx.execute(
            "INSERT INTO generations
                 (projection, generation, version, schema_name, state, keep_old, park_failures, allow_differences)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                projection.into(),
                generation.number.into(),
                generation.version.into(),
                generation.schema().into(),
                state.as_str().into(),
                i64::from(options.keep_old).into(),
                i64::from(options.park_failures).into(),
                i64::from(options.allow_differences).into(),
            ],
        )
        .await?;

        let (tables, indexes) = model.statements();
        let mut scripts = vec![GENERATION_SCHEMA];
        scripts.extend(tables);
        if state == GenerationState::Live {
            scripts.extend(indexes);
        }
        self.backend.create(tx, generation.schema(), &scripts).await?;
        Ok(generation)
    }
}

/// The live generation of `version`.
pub(crate) fn live(listed: &[ListedGeneration], version: i64) -> Option<&Generation> {
    let live =
        listed.iter().find(|listed| listed.state == GenerationState::Live && listed.generation.version == version);
    live.map(|live| &live.generation)
}
