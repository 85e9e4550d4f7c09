use std::path::Path;
use std::sync::Arc;

use balcony_event_log::{BoxFuture, Positions, Record};
use balcony_store::ReadModel;

use super::serving::Serving;
use crate::decode::Decode;
use crate::received::{Events, Reads, Received, Verdict};
use crate::taken::Taken;

/// A store of one node's own that follows the log: a search index, a cache, a file. Its commit carries the positions, so
/// that store and checkpoint are one; nothing of it is shared but the generations, which stand in the database, and the
/// records that are parked.
///
/// Every node that runs it reads all partitions by itself. As for a [`Projection`](crate::Projection), what a store
/// holds depends on the events alone, and not on where batches end.
pub trait Replica: Send + Sync + 'static {
    /// What it reads.
    type Event: Decode;
    /// One generation of it on this node.
    type Store: ReplicaStore<Event = Self::Event>;

    /// Its name, version and topics. It has no tables.
    fn read_model(&self) -> &ReadModel;

    /// Whether the record could matter here. What does not is passed over without being decoded, and cannot be parked.
    fn wants(&self, _record: &Record) -> bool {
        true
    }

    /// Opens the store of a generation as its last commit left it, or an empty one. May block.
    ///
    /// # Errors
    /// [`ReplicaError`]; it is tried again after a pause.
    fn open(&self, place: &ReplicaPlace<'_>) -> Result<Opened<Self::Store>, ReplicaError>;
}

/// Where a store is opened.
#[derive(Debug)]
pub struct ReplicaPlace<'p> {
    /// The folder of the generation, which need not exist; `None` for a store in memory.
    pub directory: Option<&'p Path>,
    /// Where the log ends now: a store that only wants what is new may begin there.
    pub ends: &'p Positions,
}

/// A store that was opened.
#[derive(Debug)]
pub struct Opened<S> {
    /// The store.
    pub store: S,
    /// Why an earlier one was given up, where it was.
    pub lost: Option<String>,
}

/// One generation of a replica on one node. Its calls may block; they are made one at a time, on a thread for such work.
pub trait ReplicaStore: Send + Sync + 'static {
    /// What is applied to it.
    type Event: Decode;
    /// What it is read through. Clones see every commit.
    type View: Clone + Send + Sync + 'static;

    /// How far in the log the last commit has come. Partitions that are not named are read from their beginning.
    fn positions(&self) -> Positions;

    /// What it is read through.
    fn view(&self) -> Self::View;

    /// Takes in events. Readers need not see them before the next commit.
    ///
    /// # Errors
    /// [`ReplicaError`]; the store is then opened anew, as its last commit left it.
    fn apply(&mut self, events: &[Received<Self::Event>]) -> Result<(), ReplicaError>;

    /// Keeps what was applied together with `positions`, which everything applied lies below, and lets readers see it.
    ///
    /// # Errors
    /// As [`ReplicaStore::apply`].
    fn commit(&mut self, positions: &Positions) -> Result<(), ReplicaError>;

    /// Checks a generation that was built, before readers change over to it.
    ///
    /// # Errors
    /// [`ReplicaError`] fails the build.
    fn verify(_view: &Self::View) -> Result<(), ReplicaError> {
        Ok(())
    }
}

/// What a replica's store could not do, in a text for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReplicaError(String);

impl ReplicaError {
    /// An error that says `reason`.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// Any replica, whatever its events and its store are, as the runtime holds it, with what its view is served through.
/// Cheap to clone.
#[derive(Clone)]
pub struct AnyReplica(Arc<dyn Erased>);

impl AnyReplica {
    /// `replica`, which is read through `serving`.
    pub fn serving<R: Replica>(replica: R, serving: Serving<<R::Store as ReplicaStore>::View>) -> Self {
        Self(Arc::new(Served { replica, serving }))
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.read_model().name
    }

    /// Its name, version and topics.
    pub fn read_model(&self) -> &ReadModel {
        self.0.read_model()
    }

    /// See [`Replica::open`].
    pub(crate) fn open(&self, place: &ReplicaPlace<'_>) -> Result<OpenedAny, ReplicaError> {
        self.0.open(place)
    }

    /// There is nothing to be read now, and why.
    pub(crate) fn close(&self, reason: String) {
        self.0.close(reason);
    }
}

impl Reads for AnyReplica {
    fn events(&self, capacity: usize) -> Events {
        self.0.events(capacity)
    }

    fn wants(&self, record: &Record) -> bool {
        self.0.wants(record)
    }

    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict {
        self.0.decode(record, events)
    }
}

impl<R: Replica> From<R> for AnyReplica {
    fn from(replica: R) -> Self {
        Self::serving(replica, Serving::default())
    }
}

/// A store of any type that was opened.
pub(crate) struct OpenedAny {
    pub(crate) store: Box<dyn AnyStore>,
    pub(crate) view: Arc<dyn AnyView>,
    pub(crate) lost: Option<String>,
}

/// A [`ReplicaStore`] whose types are hidden.
pub(crate) trait AnyStore: Send + Sync {
    fn positions(&self) -> Positions;
    fn apply(&mut self, events: &Events) -> Result<(), ReplicaError>;
    fn commit(&mut self, positions: &Positions) -> Result<(), ReplicaError>;
}

/// The view of a store that was opened, and what it is served through.
pub(crate) trait AnyView: Send + Sync {
    /// Lets it be read from now on, and says whether it is; see [`Serving::serve`]. Reads under way end with the view they
    /// began with.
    fn serve(&self, positions: Positions, other_goes_on: bool) -> bool;
    /// Tells who waits that the view, if it is the one that is read, has come to `positions`.
    fn moved(&self, positions: &Positions);
    /// Waits until somebody waits for it to move.
    fn is_wanted(&self) -> BoxFuture<'_, ()>;
    fn verify(&self) -> Result<(), ReplicaError>;
}

/// A [`Replica`] whose types are hidden.
trait Erased: Send + Sync {
    fn read_model(&self) -> &ReadModel;
    fn events(&self, capacity: usize) -> Events;
    fn wants(&self, record: &Record) -> bool;
    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict;
    fn open(&self, place: &ReplicaPlace<'_>) -> Result<OpenedAny, ReplicaError>;
    fn close(&self, reason: String);
}

struct Served<R: Replica> {
    replica: R,
    serving: Serving<<R::Store as ReplicaStore>::View>,
}

impl<R: Replica> Erased for Served<R> {
    fn read_model(&self) -> &ReadModel {
        self.replica.read_model()
    }

    fn events(&self, capacity: usize) -> Events {
        Events::with_capacity::<R::Event>(capacity)
    }

    fn wants(&self, record: &Record) -> bool {
        self.replica.wants(record)
    }

    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict {
        events.decode::<R::Event>(record)
    }

    fn open(&self, place: &ReplicaPlace<'_>) -> Result<OpenedAny, ReplicaError> {
        let Opened { store, lost } = self.replica.open(place)?;
        let view =
            Viewed::<R::Store> { view: store.view(), serving: self.serving.clone(), id: Serving::<()>::new_id() };
        Ok(OpenedAny { store: Box::new(store), view: Arc::new(view), lost })
    }

    fn close(&self, reason: String) {
        self.serving.close(reason);
    }
}

impl<S: ReplicaStore> AnyStore for S {
    fn positions(&self) -> Positions {
        ReplicaStore::positions(self)
    }

    fn apply(&mut self, events: &Events) -> Result<(), ReplicaError> {
        ReplicaStore::apply(self, events.of::<S::Event>())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), ReplicaError> {
        ReplicaStore::commit(self, positions)
    }
}

struct Viewed<S: ReplicaStore> {
    view: S::View,
    serving: Serving<S::View>,
    /// Tells views apart.
    id: u64,
}

impl<S: ReplicaStore> AnyView for Viewed<S> {
    fn serve(&self, positions: Positions, other_goes_on: bool) -> bool {
        self.serving.serve(self.id, self.view.clone(), positions, other_goes_on)
    }

    fn moved(&self, positions: &Positions) {
        self.serving.moved(self.id, positions);
    }

    fn is_wanted(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.serving.is_wanted())
    }

    fn verify(&self) -> Result<(), ReplicaError> {
        S::verify(&self.view)
    }
}
