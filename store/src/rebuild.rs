//! How a generation comes to be live, and how it goes.
//!
//! A build is one row in `generations` from the moment it is asked for, so that it survives whoever works on it. One
//! process at a time builds, under a [`Lease`]; a process that lost its lease without knowing is fenced by the
//! checkpoints' epochs. Readers change over when the row says `live`, which happens in one transaction while the
//! checkpoints of the generation before are held.

use std::fmt::Debug;
use std::time::Duration;

use balcony_event_log::Positions;

use crate::generations::live;
use crate::listing::list;
use crate::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError, Tx};

/// The right to build a read model, until it is dropped or its process dies.
#[derive(Debug)]
pub struct Lease {
    _held: Box<dyn Debug + Send + Sync>,
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
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(&model.name)).await?;
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
            return Err(StoreError::Fenced(generation.schema.clone()));
        }
        self.progress().generations_changed();
        Ok(())
    }

    /// Gives up the unfinished generation of `projection` and says which it was.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn cancel_build(&self, projection: &str) -> Result<Option<Generation>, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
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
        Ok(self.backend.lease(projection).await?.map(|_held| Lease { _held }))
    }

    /// Makes the secondary indexes that `generation` lacks.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn make_indexes(&self, generation: &Generation, model: &ReadModel) -> Result<(), StoreError> {
        let writer = self.writer(generation);
        let (_, indexes) = model.statements();
        for index in indexes {
            let mut tx = writer.begin().await?;
            tx.make_index(index).await?;
            tx.commit().await?;
        }
        let mut tx = writer.begin().await?;
        tx.gather_statistics().await?;
        tx.commit().await
    }

    /// Makes `next`, which follows the log, live for its version. The live generation of the same version is retired;
    /// live ones of other versions go on being read by nodes of those versions. The generation that is read now, of the
    /// same version or of the newest before it, keeps its checkpoints where they are meanwhile: `reached` has to wait
    /// until `next` has come as far.
    ///
    /// Dropped are, unless the options of `next` say otherwise, generations retired before, and live ones of versions
    /// older than the newest live one before that of `next`.
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
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(&next.projection)).await?;
        let Some(building) = listed.iter().find(|listed| listed.generation == *next && listed.state.is_unfinished())
        else {
            return Err(StoreError::Fenced(next.schema.clone()));
        };
        let same = live(&listed, next.version);
        let before = newest_live_before(&listed, next.version);
        let held = match same.or(before) {
            None => None,
            Some(current) => {
                let mut held = self.writer(current).begin().await?;
                let positions = held.hold_checkpoints().await?;
                let in_time = tokio::time::timeout(HOLD, reached(&positions)).await;
                if !in_time.unwrap_or(false) {
                    return Ok(false);
                }
                Some(held)
            }
        };

        if let Some(same) = same {
            set_state(&mut tx, same, GenerationState::Retired).await?;
        }
        set_state(&mut tx, next, GenerationState::Live).await?;
        let mut dropped = Vec::new();
        if !building.options.keep_old {
            for old in listed.iter().filter(|listed| is_old(listed, next.version, before)) {
                let old = &old.generation;
                set_state(&mut tx, old, GenerationState::Retired).await?;
                tx.execute("SAVEPOINT old", &[]).await?;
                match self.forget(&mut tx, old).await {
                    Ok(()) => dropped.push(old.clone()),
                    // Somebody reads it, and is not waited for with checkpoints held: it goes with a later switch.
                    Err(error @ StoreError::Unavailable(_)) => {
                        tracing::warn!(generation = old.schema, %error, "an old generation could not be dropped");
                        tx.execute("ROLLBACK TO SAVEPOINT old", &[]).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        tx.commit().await?;
        drop(held);
        self.progress().generations_changed();
        self.remove_files(&dropped)?;
        Ok(true)
    }

    /// Takes back the last switch, as a program of `version` sees it: that of the newest version that has a live
    /// generation, if that is a newer one. The newest retired generation of that version is live again in place of the
    /// live one. Where there is none, the live one is retired, and nodes of the newest version before it, whose
    /// generation is still live, are the ones to run. Gives the generation that is read from now on and the one that
    /// was retired, if one was.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when there is none to go back to.
    pub async fn roll_back(
        &self,
        projection: &str,
        version: u32,
    ) -> Result<(Generation, Option<Generation>), StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        let newest = listed.iter().filter(|listed| listed.state == GenerationState::Live);
        let newest = newest.map(|listed| listed.generation.version).max();
        let version = i64::from(version).max(newest.unwrap_or(0));
        let current = live(&listed, version);
        let retired = listed
            .iter()
            .rfind(|listed| listed.state == GenerationState::Retired && listed.generation.version == version);
        let to = match (retired, current) {
            (Some(retired), _) => &retired.generation,
            (None, Some(_)) => newest_live_before(&listed, version).ok_or_else(|| {
                StoreError::Misconfigured(format!(
                    "{projection} has no generation before this one to go back to; rebuild it instead"
                ))
            })?,
            (None, None) => {
                return Err(StoreError::Misconfigured(format!(
                    "{projection} has no generation of version {version} to go back from or to"
                )));
            }
        };
        if let Some(current) = current {
            set_state(&mut tx, current, GenerationState::Retired).await?;
        }
        set_state(&mut tx, to, GenerationState::Live).await?;
        // What is being built of the version that is taken back would bring it back.
        let unfinished = listed.iter().find(|listed| listed.state.is_unfinished());
        let unfinished = unfinished.map(|listed| &listed.generation);
        let given_up: Vec<_> =
            unfinished.filter(|unfinished| unfinished.version > to.version).cloned().into_iter().collect();
        for generation in &given_up {
            self.forget(&mut tx, generation).await?;
        }
        let (to, from) = (to.clone(), current.cloned());
        tx.commit().await?;
        self.progress().generations_changed();
        self.remove_files(&given_up)?;
        Ok((to, from))
    }

    /// Takes a generation's row away, and its schema; its file goes when the transaction is committed.
    async fn forget(&self, tx: &mut Tx, generation: &Generation) -> Result<(), StoreError> {
        tx.execute(
            "DELETE FROM generations WHERE projection = $1 AND generation = $2",
            &[generation.projection.as_str().into(), generation.number.into()],
        )
        .await?;
        self.backend.drop_schema(tx, generation.schema()).await
    }

    fn remove_files(&self, dropped: &[Generation]) -> Result<(), StoreError> {
        dropped.iter().try_for_each(|generation| self.backend.remove_file(generation.schema()))
    }
}

/// The live generation of the newest version before `version`.
fn newest_live_before(listed: &[ListedGeneration], version: i64) -> Option<&Generation> {
    let live = listed.iter().filter(|listed| listed.state == GenerationState::Live);
    let before = live.map(|live| &live.generation).filter(|live| live.version < version);
    before.max_by_key(|before| before.version)
}

/// Whether a generation is one that nobody needs any more once one of `version` is live, `before` being the live one of
/// the newest version before. A newer one that was rolled back stays: by it, programs of its version know that.
fn is_old(listed: &ListedGeneration, version: i64, before: Option<&Generation>) -> bool {
    match listed.state {
        GenerationState::Retired => listed.generation.version <= version,
        GenerationState::Live => before.is_some_and(|before| listed.generation.version < before.version),
        _ => false,
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
