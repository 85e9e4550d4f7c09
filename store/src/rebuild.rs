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
use crate::leftovers::leave;
use crate::listing::list;
use crate::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError, Tx, Value};

/// The right to build a read model, until it is dropped or its process dies.
#[derive(Debug)]
pub struct Lease {
    _held: Box<dyn Debug + Send + Sync>,
}

/// How long the generation before is held at the most while the new one comes as far.
const HOLD: Duration = Duration::from_millis(500);

impl Database {
    /// Asks for a new generation of `model`, or gives the one that is being built, which goes on if it had failed;
    /// then `options` are added to its own. An unfinished one of an older version is dropped.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when a generation of a newer version is live or being built, and this version has
    /// none.
    pub async fn begin_build(&self, model: &ReadModel, options: BuildOptions) -> Result<Generation, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        tx.execute(
            "DELETE FROM given_up_builds WHERE projection = $1 AND version = $2",
            &[(&*model.name).into(), i64::from(model.version).into()],
        )
        .await?;
        self.begin_build_in(tx, model, options).await
    }

    /// The same, as a worker does that finds no generation of its version; `None` where an operator gave the build up
    /// and has not asked for it again.
    ///
    /// # Errors
    /// As [`Database::begin_build`].
    pub async fn begin_missing_build(
        &self,
        model: &ReadModel,
        options: BuildOptions,
    ) -> Result<Option<Generation>, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        if is_given_up(&mut tx, model).await? {
            return Ok(None);
        }
        self.begin_build_in(tx, model, options).await.map(Some)
    }

    /// Whether an operator gave up the first build of this version of `model`, and has not asked for it again.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn build_is_given_up(&self, model: &ReadModel) -> Result<bool, StoreError> {
        is_given_up(&mut self.look().await?, model).await
    }

    async fn begin_build_in(
        &self,
        mut tx: Tx,
        model: &ReadModel,
        options: BuildOptions,
    ) -> Result<Generation, StoreError> {
        let listed = list(&mut tx, Some(&model.name)).await?;
        let version = i64::from(model.version);
        let is_there = |listed: &&ListedGeneration| listed.state != GenerationState::Retired;
        let newer = listed.iter().filter(is_there).find(|listed| listed.generation.version > version);
        let has_own = listed.iter().filter(is_there).any(|listed| listed.generation.version == version);
        if let Some(newer) = newer.filter(|_| !has_own) {
            return Err(StoreError::Misconfigured(format!(
                "{} has a generation of version {} that is {}, this program has version {version}; use the newer one",
                model.name, newer.generation.version, newer.state
            )));
        }

        let unfinished = |listed: &&ListedGeneration| listed.state.is_unfinished();
        let own = listed.iter().filter(unfinished).find(|listed| listed.generation.version == version);
        let outdated = listed.iter().filter(unfinished).filter(|listed| listed.generation.version < version);
        for outdated in outdated {
            self.forget(&mut tx, &outdated.generation).await?;
        }
        let is_whole = match own {
            Some(own) => self.is_there(&own.generation).await?,
            None => false,
        };
        let generation = match own {
            Some(own) if is_whole => {
                goes_on(&mut tx, own, options).await?;
                own.generation.clone()
            }
            Some(lost) => {
                self.forget(&mut tx, &lost.generation).await?;
                self.create(&mut tx, model, GenerationState::Copying, options).await?
            }
            None => self.create(&mut tx, model, GenerationState::Copying, options).await?,
        };
        tx.commit().await?;
        self.progress().generations_changed();
        self.drop_leftovers().await;
        Ok(generation)
    }

    /// Moves an unfinished generation on to `state`. Once it follows, whatever was tried in vain before has passed.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_stands_at(&self, generation: &Generation, state: GenerationState) -> Result<(), StoreError> {
        let set = match state {
            GenerationState::Following => "state = $3, error = NULL, attempts = 0",
            _ => "state = $3",
        };
        self.change_build(generation, set, &[state.as_str().into()]).await
    }

    /// Says that a build cannot go on, and why.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_failed(&self, generation: &Generation, error: &str) -> Result<(), StoreError> {
        let set = "state = $3, error = $4";
        self.change_build(generation, set, &[GenerationState::Failed.as_str().into(), error.into()]).await
    }

    /// Says that a build was tried in vain and will be tried again, and why it failed. Gives how often that was so since
    /// it came on last.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_stumbled(&self, generation: &Generation, error: &str) -> Result<i64, StoreError> {
        self.change_build(generation, "error = $3, attempts = attempts + 1", &[error.into()]).await?;
        let listed = self.generations(Some(&generation.projection)).await?;
        Ok(listed.into_iter().find(|listed| listed.generation == *generation).map_or(0, |listed| listed.attempts))
    }

    /// Says that a build comes on after it was tried in vain.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not being built any more.
    pub async fn build_comes_on(&self, generation: &Generation) -> Result<(), StoreError> {
        self.change_build(generation, "error = NULL, attempts = 0", &[]).await
    }

    async fn change_build(&self, generation: &Generation, set: &str, to: &[Value<'_>]) -> Result<(), StoreError> {
        let mut params: Vec<Value<'_>> = vec![generation.projection.as_str().into(), generation.number.into()];
        params.extend_from_slice(to);
        let sql = format!(
            "UPDATE generations SET {set}
             WHERE projection = $1 AND generation = $2 AND state NOT IN ('live', 'retired')"
        );
        let mut tx = self.begin().await?;
        let changed = tx.execute(sql, &params).await?;
        tx.commit().await?;
        if changed == 0 {
            return Err(StoreError::Fenced(generation.schema.clone()));
        }
        self.progress().generations_changed();
        Ok(())
    }

    /// Gives up the unfinished generation of `projection` in `version`, or else that of the newest other version, and
    /// says which it was. Where its version has no live generation, workers wait from then on until an operator asks
    /// for a build again.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn cancel_build(&self, projection: &str, version: u32) -> Result<Option<Generation>, StoreError> {
        let mut tx = self.backend.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        let unfinished = listed.iter().filter(|listed| listed.state.is_unfinished()).map(|listed| &listed.generation);
        let newest = unfinished.max_by_key(|one| (one.version == i64::from(version), one.version));
        let Some(unfinished) = newest.cloned() else { return Ok(None) };
        self.forget(&mut tx, &unfinished).await?;
        if live(&listed, unfinished.version).is_none() {
            tx.execute(
                "INSERT INTO given_up_builds (projection, version) VALUES ($1, $2)
                 ON CONFLICT (projection, version) DO NOTHING",
                &[projection.into(), unfinished.version.into()],
            )
            .await?;
        }
        tx.commit().await?;
        self.progress().generations_changed();
        self.drop_leftovers().await;
        Ok(Some(unfinished))
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
        let writer = self.patient_writer(generation);
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
    /// same version or of the newest before it, keeps its checkpoints where they are meanwhile, for half a second at the
    /// most: `reached` has to wait until `next` has come as far. Whoever calls this sees to it before that `next` is
    /// about there.
    ///
    /// Given up are, unless the options of `next` say otherwise, generations retired before, and live ones of versions
    /// older than the newest live one before that of `next`. Their tables are dropped once nothing is held any more.
    ///
    /// `false` means that `next` did not come so far in time, or that somebody holds what is to be held: nothing has
    /// changed, and the same may be tried again.
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
                match held.hold_checkpoints_briefly().await {
                    Ok(positions) => {
                        let in_time = tokio::time::timeout(HOLD, reached(&positions)).await;
                        if !in_time.unwrap_or(false) {
                            return Ok(false);
                        }
                        Some(held)
                    }
                    // Its schema is lost, and nobody reads or writes it.
                    Err(error) if error.is_missing_table() => None,
                    Err(error) if error.is_transient() => {
                        tracing::debug!(generation = current.schema, %error, "a switch waits");
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
        };

        match same {
            Some(same) if held.is_some() => set_state(&mut tx, same, GenerationState::Retired).await?,
            // There is no going back to it.
            Some(lost) => self.forget(&mut tx, lost).await?,
            None => {}
        }
        set_state(&mut tx, next, GenerationState::Live).await?;
        if !building.options.keep_old {
            for old in listed.iter().filter(|listed| is_old(listed, next.version, before)) {
                self.forget(&mut tx, &old.generation).await?;
            }
        }
        tx.commit().await?;
        drop(held);
        self.progress().generations_changed();
        self.drop_leftovers().await;
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
        let unfinished = listed.iter().filter(|listed| listed.state.is_unfinished()).map(|listed| &listed.generation);
        for generation in unfinished.filter(|unfinished| unfinished.version > to.version) {
            self.forget(&mut tx, generation).await?;
        }
        let (to, from) = (to.clone(), current.cloned());
        tx.commit().await?;
        self.progress().generations_changed();
        self.drop_leftovers().await;
        Ok((to, from))
    }

    /// Takes a generation's row away, and leaves its schema to [`Database::drop_leftovers`].
    async fn forget(&self, tx: &mut Tx, generation: &Generation) -> Result<(), StoreError> {
        tx.execute(
            "DELETE FROM generations WHERE projection = $1 AND generation = $2",
            &[generation.projection.as_str().into(), generation.number.into()],
        )
        .await?;
        leave(tx, generation.schema()).await
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
         SET state = $3, error = NULL, attempts = 0, keep_old = $4, park_failures = $5, allow_differences = $6
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
        "UPDATE generations SET state = $3, error = NULL, attempts = 0 WHERE projection = $1 AND generation = $2",
        &[generation.projection.as_str().into(), generation.number.into(), state.as_str().into()],
    )
    .await?;
    Ok(())
}

async fn is_given_up(tx: &mut Tx, model: &ReadModel) -> Result<bool, StoreError> {
    let found: Vec<(i64,)> = tx
        .fetch(
            "SELECT version FROM given_up_builds WHERE projection = $1 AND version = $2",
            &[(&*model.name).into(), i64::from(model.version).into()],
        )
        .await?;
    Ok(!found.is_empty())
}
