//! How a generation comes to be live, and how it goes.
//!
//! A build is one row in `generations` from the moment it is asked for, so that it survives whoever works on it. One
//! process at a time builds, under a [`Lease`]; a process that lost its lease without knowing is fenced by the
//! checkpoints' epochs. Readers change over when the row says `live`, which happens in one transaction while the
//! checkpoints of the generation before are held.

use std::fs::File;
use std::time::Duration;

use balcony_event_log::Positions;
use sqlx::PgConnection;

use crate::database::Backend;
use crate::generation::{list, statements};
use crate::{
    BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError, Tx, postgres, sqlite,
};

/// The right to build a read model, until it is dropped or its process dies.
#[derive(Debug)]
pub struct Lease {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    Postgres { _connection: PgConnection },
    Sqlite { _file: File },
}

/// How long the generation before is held while the new one catches up with it.
const HOLD: Duration = Duration::from_secs(2);

impl Database {
    /// Asks for a new generation of `model`, or gives the one that is being built, which goes on if it had failed;
    /// then `options` are added to its own. An unfinished one of an older version is dropped.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when a generation of a newer version is live or being built.
    pub async fn begin_build(&self, model: &ReadModel, options: BuildOptions) -> Result<Generation, StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(model.name)).await?;
        let version = i64::from(model.version);
        let newer = listed
            .iter()
            .find(|listed| listed.generation.version > version && listed.state != GenerationState::Retired);
        if let Some(newer) = newer {
            return Err(StoreError::Misconfigured(format!(
                "{} has a generation of version {} that is {}, this program has version {version}; use the newer one",
                model.name, newer.generation.version, newer.state
            )));
        }

        let mut dropped = Vec::new();
        let unfinished = listed.into_iter().find(|listed| listed.state.is_unfinished());
        let generation = match unfinished {
            Some(unfinished) if unfinished.generation.version == version => {
                goes_on(&mut tx, &unfinished, options).await?;
                unfinished.generation
            }
            outdated => {
                if let Some(outdated) = outdated {
                    self.forget(&mut tx, &outdated.generation).await?;
                    dropped.push(outdated.generation);
                }
                self.create(&mut tx, model, GenerationState::Copying, options).await?
            }
        };
        tx.commit().await?;
        self.remove_files(&dropped)?;
        self.progress().generations_changed();
        Ok(generation)
    }

    /// Moves an unfinished generation on to `state`.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_stands_at(&self, generation: &Generation, state: GenerationState) -> Result<(), StoreError> {
        self.change_build(generation, state, None).await
    }

    /// Says that a build cannot go on, and why.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_failed(&self, generation: &Generation, error: &str) -> Result<(), StoreError> {
        self.change_build(generation, GenerationState::Failed, Some(error)).await
    }

    async fn change_build(
        &self,
        generation: &Generation,
        state: GenerationState,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let changed = tx
            .execute(
                "UPDATE generations SET state = $3, error = $4
                 WHERE projection = $1 AND generation = $2 AND state NOT IN ('live', 'retired')",
                &[generation.projection.as_str().into(), generation.number.into(), state.as_str().into(), error.into()],
            )
            .await?;
        tx.commit().await?;
        if changed == 0 {
            return Err(StoreError::Fenced(generation.namespace()));
        }
        self.progress().generations_changed();
        Ok(())
    }

    /// Gives up the unfinished generation of `projection` and says which it was.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn cancel_build(&self, projection: &str) -> Result<Option<Generation>, StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        let Some(unfinished) = listed.into_iter().find(|listed| listed.state.is_unfinished()) else {
            return Ok(None);
        };
        self.forget(&mut tx, &unfinished.generation).await?;
        tx.commit().await?;
        self.remove_files(std::slice::from_ref(&unfinished.generation))?;
        self.progress().generations_changed();
        Ok(Some(unfinished.generation))
    }

    /// The right to build `projection`; `None` while another process has it.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn lease(&self, projection: &str) -> Result<Option<Lease>, StoreError> {
        let held = match &self.backend {
            Backend::Postgres { options, .. } => {
                postgres::try_lease(options, projection).await?.map(|_connection| Held::Postgres { _connection })
            }
            Backend::Sqlite { directory, .. } => {
                let file = sqlite::try_lease(directory, projection).map_err(sqlx::Error::Io)?;
                file.map(|_file| Held::Sqlite { _file })
            }
        };
        Ok(held.map(|_held| Lease { _held }))
    }

    /// Makes the secondary indexes that `generation` lacks.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn make_indexes(&self, generation: &Generation, model: &ReadModel) -> Result<(), StoreError> {
        let writer = self.writer(generation);
        let (_, indexes) = statements(model.schema);
        for index in indexes {
            let mut tx = writer.begin().await?;
            tx.make_index(index).await?;
            tx.commit().await?;
        }
        let mut tx = writer.begin().await?;
        tx.gather_statistics().await?;
        tx.commit().await
    }

    /// Makes `next`, which follows the log, live. The generation that is live keeps its checkpoints where they are
    /// meanwhile and is retired; `reached` has to wait until `next` has come as far. Generations retired before are
    /// dropped, unless its options say otherwise.
    ///
    /// `false` means that `next` did not come so far in time: nothing has changed, and the same may be tried again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when `next` is not the one that is built any more.
    pub async fn switch(
        &self,
        next: &Generation,
        reached: impl AsyncFnOnce(&Positions) -> bool,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(&next.projection)).await?;
        let Some(building) = listed.iter().find(|listed| listed.generation == *next && listed.state.is_unfinished())
        else {
            return Err(StoreError::Fenced(next.namespace()));
        };
        let live = listed.iter().find(|listed| listed.state == GenerationState::Live);
        let held = match live {
            None => None,
            Some(live) => {
                let mut held = self.writer(&live.generation).begin().await?;
                let positions = held.hold_checkpoints().await?;
                let in_time = tokio::time::timeout(HOLD, reached(&positions)).await;
                if !in_time.unwrap_or(false) {
                    return Ok(false);
                }
                Some(held)
            }
        };

        if let Some(live) = live {
            set_state(&mut tx, &live.generation, GenerationState::Retired).await?;
        }
        set_state(&mut tx, next, GenerationState::Live).await?;
        let mut dropped = Vec::new();
        if !building.options.keep_old {
            for retired in listed.iter().filter(|listed| listed.state == GenerationState::Retired) {
                self.forget(&mut tx, &retired.generation).await?;
                dropped.push(retired.generation.clone());
            }
        }
        tx.commit().await?;
        drop(held);
        self.progress().generations_changed();
        self.remove_files(&dropped)?;
        Ok(true)
    }

    /// Makes the newest retired generation of `projection` live again and retires the one that is live. Gives both,
    /// the new live one first.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when there is none to go back to.
    pub async fn roll_back(&self, projection: &str) -> Result<(Generation, Generation), StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        let newest = |state| listed.iter().rfind(|listed| listed.state == state).map(|listed| &listed.generation);
        let (Some(live), Some(before)) = (newest(GenerationState::Live), newest(GenerationState::Retired)) else {
            return Err(StoreError::Misconfigured(format!(
                "{projection} has no generation before this one to go back to; rebuild it instead"
            )));
        };
        set_state(&mut tx, live, GenerationState::Retired).await?;
        set_state(&mut tx, before, GenerationState::Live).await?;
        tx.commit().await?;
        self.progress().generations_changed();
        Ok((before.clone(), live.clone()))
    }

    /// Removes what crashes have left over: files of generations that are forgotten.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let Backend::Sqlite { directory, .. } = &self.backend else { return Ok(()) };
        // Held until the end, so that nobody makes a generation meanwhile, whose file comes before its row.
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, None).await?;
        let known: Vec<String> = listed.iter().map(|listed| listed.generation.namespace()).collect();
        sqlite::sweep(directory, &known).map_err(sqlx::Error::Io)?;
        Ok(())
    }

    /// Takes a generation's row away, and its schema; its file goes when the transaction is committed.
    async fn forget(&self, tx: &mut Tx, generation: &Generation) -> Result<(), StoreError> {
        tx.execute(
            "DELETE FROM generations WHERE projection = $1 AND generation = $2",
            &[generation.projection.as_str().into(), generation.number.into()],
        )
        .await?;
        if let Tx::Postgres(connection) = tx {
            postgres::drop_schema(connection, generation).await?;
        }
        Ok(())
    }

    fn remove_files(&self, dropped: &[Generation]) -> Result<(), StoreError> {
        if let Backend::Sqlite { directory, .. } = &self.backend {
            for generation in dropped {
                sqlite::remove(directory, generation).map_err(sqlx::Error::Io)?;
            }
        }
        Ok(())
    }
}

/// Lets a build go on as it is, or from the beginning of its states when it had failed.
async fn goes_on(tx: &mut Tx, listed: &ListedGeneration, added: BuildOptions) -> Result<(), StoreError> {
    let state = if listed.state == GenerationState::Failed { GenerationState::Copying } else { listed.state };
    let of = |own: bool, added: bool| i64::from(own || added);
    tx.execute(
        "UPDATE generations
         SET state = $3, error = NULL, keep_old = $4, park_failures = $5, allow_differences = $6
         WHERE projection = $1 AND generation = $2",
        &[
            listed.generation.projection.as_str().into(),
            listed.generation.number.into(),
            state.as_str().into(),
            of(listed.options.keep_old, added.keep_old).into(),
            of(listed.options.park_failures, added.park_failures).into(),
            of(listed.options.allow_differences, added.allow_differences).into(),
        ],
    )
    .await?;
    Ok(())
}

async fn set_state(tx: &mut Tx, generation: &Generation, state: GenerationState) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE generations SET state = $3, error = NULL WHERE projection = $1 AND generation = $2",
        &[generation.projection.as_str().into(), generation.number.into(), state.as_str().into()],
    )
    .await?;
    Ok(())
}
