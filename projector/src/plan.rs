use balcony_store::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, StoreError};

use crate::report::RebuildState;

/// What there is to do about the generations of one read model, for a program of one version of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The generation that readers of this version read.
    pub(crate) live: Option<i64>,
    /// Those that are to follow the log.
    pub(crate) work: Vec<Generation>,
    pub(crate) build: Option<Generation>,
    pub(crate) rebuild: Option<RebuildState>,
    /// Whether a generation of this program's version is to be asked for.
    pub(crate) begin: bool,
    /// Why nothing is done.
    pub(crate) complaint: Option<String>,
}

impl Plan {
    fn of(listed: &[ListedGeneration], version: i64) -> Self {
        let mut plan = Self::default();
        let own = |listed: &&ListedGeneration| listed.generation.version == version;
        let live = listed.iter().filter(own).find(|listed| listed.state == GenerationState::Live);
        let unfinished = listed.iter().filter(own).find(|listed| listed.state.is_unfinished());
        if let Some(live) = live {
            plan.live = Some(live.generation.number);
            plan.work.push(live.generation.clone());
        }
        if let Some(ListedGeneration { generation, state, error, attempts, .. }) = unfinished {
            plan.rebuild = Some(RebuildState {
                generation: generation.number,
                version: generation.version,
                state: state.to_string(),
                error: error.clone(),
                attempts: *attempts,
            });
            if *state == GenerationState::Following {
                plan.work.push(generation.clone());
            }
            if *state != GenerationState::Failed {
                plan.build = Some(generation.clone());
            }
            return plan;
        }
        if live.is_some() {
            return plan;
        }

        let newest = listed.iter().filter(|listed| listed.state != GenerationState::Retired);
        let newest = newest.map(|listed| listed.generation.version).max().unwrap_or(0);
        let rolled_back = listed.iter().any(|listed| listed.generation.version == version);
        if newest > version {
            plan.complaint = Some(format!(
                "a generation of version {newest} is there and this program has version {version}: run the newer \
                 program, or roll back"
            ));
        } else if rolled_back {
            plan.complaint = Some(format!(
                "it was rolled back to version {newest} and this program has version {version}: run the older program, \
                 or rebuild"
            ));
        } else {
            plan.begin = true;
        }
        plan
    }

    /// What there is to do about `model`, and its generations; asks for one where it is missing and nobody gave it up,
    /// or where it failed and is to be tried again.
    pub(crate) async fn make(
        database: &Database,
        model: &ReadModel,
        try_again: bool,
    ) -> Result<(Self, Vec<ListedGeneration>), StoreError> {
        let listed = database.generations(Some(&model.name)).await?;
        let mut plan = Self::of(&listed, model.version.into());
        if plan.begin {
            // The first generation of all has nothing before it that could have parked anything.
            let options = BuildOptions { park_failures: listed.is_empty(), ..BuildOptions::default() };
            let is_given_up = database.build_is_given_up(model).await?;
            if is_given_up || database.begin_missing_build(model, options).await?.is_none() {
                plan.complaint = Some("the build of its first generation was given up: rebuild it".to_owned());
                return Ok((plan, listed));
            }
        } else if plan.has_failed() && try_again {
            database.begin_build(model, BuildOptions::default()).await?;
        } else {
            return Ok((plan, listed));
        }
        let listed = database.generations(Some(&model.name)).await?;
        Ok((Self::of(&listed, model.version.into()), listed))
    }

    /// Whether the build of this program's version has failed.
    fn has_failed(&self) -> bool {
        self.rebuild.as_ref().is_some_and(|rebuild| rebuild.state == GenerationState::Failed.as_str())
    }
}

/// The generation that a new one of `version` comes after: the live one of the same version, or else of the newest other.
pub(crate) fn before(listed: &[ListedGeneration], version: i64) -> Option<&Generation> {
    let live = listed.iter().filter(|listed| listed.state == GenerationState::Live).map(|listed| &listed.generation);
    live.max_by_key(|live| (live.version == version, live.version))
}

/// The same, unless its tables are lost: then nothing can be taken over from it or compared with it.
pub(crate) async fn whole_before(database: &Database, of: &Generation) -> Result<Option<Generation>, StoreError> {
    let listed = database.generations(Some(&of.projection)).await?;
    let Some(before) = before(&listed, of.version) else { return Ok(None) };
    if database.is_there(before).await? {
        return Ok(Some(before.clone()));
    }
    tracing::warn!(
        generation = before.schema,
        "the tables of the generation before are lost: it is built without them"
    );
    Ok(None)
}

/// What the right to build `model`, or to lead its replicas, is called: each version has its own, since nobody waits
/// for those of another.
pub(crate) fn lease_name(model: &ReadModel) -> String {
    match model.version {
        1 => model.name.to_string(),
        version => format!("{}-{version}", model.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(number: i64, version: i64, state: GenerationState) -> ListedGeneration {
        let generation =
            Generation { projection: "things".into(), number, version, schema: format!("things_{number}") };
        ListedGeneration { generation, state, error: None, attempts: 0, accepted: 0, options: BuildOptions::default() }
    }

    fn plan(listed: &[ListedGeneration], version: i64) -> (Vec<i64>, Option<i64>, bool, bool) {
        let Plan { work, build, begin, complaint, .. } = Plan::of(listed, version);
        let work = work.iter().map(|generation| generation.number).collect();
        (work, build.map(|generation| generation.number), begin, complaint.is_some())
    }

    #[test]
    fn every_state_of_the_generations_has_its_plan() {
        use GenerationState::{Copying, Failed, Following, Live};

        assert_eq!(plan(&[], 1), (vec![], None, true, false), "a first generation is asked for");
        assert_eq!(plan(&[listed(1, 1, Copying)], 1), (vec![], Some(1), false, false));
        assert_eq!(plan(&[listed(1, 1, Live)], 1), (vec![1], None, false, false));
        let rebuilding = [listed(1, 1, Live), listed(2, 1, Copying)];
        assert_eq!(plan(&rebuilding, 1), (vec![1], Some(2), false, false), "the live one is worked on meanwhile");
        let following = [listed(1, 1, Live), listed(2, 1, Following)];
        assert_eq!(plan(&following, 1), (vec![1, 2], Some(2), false, false));
        let failed = [listed(1, 1, Live), listed(2, 1, Failed)];
        assert_eq!(plan(&failed, 1), (vec![1], None, false, false), "what failed waits for somebody");
    }

    #[test]
    fn a_new_version_is_built_and_an_older_program_keeps_off() {
        use GenerationState::{Copying, Following, Live, Retired};

        assert_eq!(plan(&[listed(1, 1, Live)], 2), (vec![], None, true, false));
        let upgrading = [listed(1, 1, Live), listed(2, 2, Following)];
        assert_eq!(plan(&upgrading, 2), (vec![2], Some(2), false, false));
        assert_eq!(plan(&upgrading, 1), (vec![1], None, false, false), "the old program serves its own");
        assert_eq!(plan(&[listed(1, 1, Live), listed(2, 2, Copying)], 3), (vec![], None, true, false));
        let upgraded = [listed(1, 1, Live), listed(2, 2, Live)];
        assert_eq!(plan(&upgraded, 2), (vec![2], None, false, false));
        assert_eq!(plan(&upgraded, 1), (vec![1], None, false, false), "each version has its own");
        let long_upgraded = [listed(1, 1, Retired), listed(2, 2, Live)];
        assert_eq!(plan(&long_upgraded, 1), (vec![], None, false, true));
        let rolled_back = [listed(1, 1, Live), listed(2, 2, Retired)];
        assert_eq!(plan(&rolled_back, 2), (vec![], None, false, true), "going back is not undone by itself");
        assert_eq!(plan(&rolled_back, 1), (vec![1], None, false, false));
    }

    #[test]
    fn a_build_comes_after_the_live_one_of_its_version_or_of_the_newest() {
        use GenerationState::{Copying, Live, Retired};

        let all = [listed(1, 1, Live), listed(2, 2, Live), listed(3, 2, Retired), listed(4, 1, Copying)];
        let before = |version| before(&all, version).map(|before| before.number);
        assert_eq!((before(1), before(2), before(3)), (Some(1), Some(2), Some(2)));
    }
}
