//! Steps whose store is a node's own.
//!
//! What is read lies beside who reads: every process that runs a replica reads the log by itself into a store of its
//! own, and needs nothing of the others'. What they share is what they are to have: the generations of the replica stand
//! in the database with those of all read models, so that an operator asks for a rebuild, and goes back, in one way. One
//! process at a time, under a lease, writes down there how far its copies have come, and switches.

pub(crate) mod copy;
mod folder;
pub(crate) mod lead;
mod serving;
mod spec;

pub use folder::ReplicaFolder;
pub use serving::Serving;
pub use spec::{AnyReplica, Opened, Replica, ReplicaError, ReplicaPlace, ReplicaStore};
