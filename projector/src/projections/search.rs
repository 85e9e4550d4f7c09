use std::sync::Arc;

use balcony_domain::{Recorded, Topics};
use balcony_store::{ReadModel, StoreError, Tx};

use crate::{Projection, Received, SEARCH_MODEL};

/// The search index as operators know it: what stands of it in the database. Its comments are in the folders of those
/// who search; see [`crate::Projector::start_search`].
pub struct Search {
    topics: [Arc<str>; 1],
}

impl Search {
    /// The index of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self { topics: [topics.facts.clone()] }
    }
}

#[async_trait::async_trait]
impl Projection for Search {
    type Event = Recorded;

    fn read_model(&self) -> ReadModel {
        SEARCH_MODEL
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// Comes to pass when an operator has a parked record tried again, which no database can do here.
    async fn apply(&self, _: &[Received<Recorded>], _: &mut Tx) -> Result<(), StoreError> {
        Err(StoreError::refusal(
            "search takes in what can be read by now when it is built anew: balcony rebuild search",
        ))
    }
}
