use crate::generation::list;
use crate::{Database, Generation, GenerationState, ListedGeneration, StoreError, Tx};

/// The generations of one read model, held: until this is dropped, none is made, switched to or dropped. Whoever holds
/// checkpoints as well takes this hold first, as a switch does.
#[derive(Debug)]
pub struct HeldGenerations {
    listed: Vec<ListedGeneration>,
    _held: Tx,
}

impl Database {
    /// Holds the generations of `projection`.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn hold_generations(&self, projection: &str) -> Result<HeldGenerations, StoreError> {
        let mut tx = self.begin_on_generations().await?;
        let listed = list(&mut tx, Some(projection)).await?;
        Ok(HeldGenerations { listed, _held: tx })
    }
}

impl HeldGenerations {
    /// The live one.
    pub fn live(&self) -> Option<&Generation> {
        self.listed.iter().find(|listed| listed.state == GenerationState::Live).map(|listed| &listed.generation)
    }

    /// The one that is still to become live, be it being built or failed.
    pub fn unfinished(&self) -> Option<&ListedGeneration> {
        self.listed.iter().find(|listed| listed.state.is_unfinished())
    }
}
