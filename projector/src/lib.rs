//! Turns the log into read models, and into effects on the world.
//!
//! A [`Projection`] says which topics it reads, which tables it has and how a batch of events changes them. The
//! runtime ([`Projector`]) does the rest: it shares the partitions out among the running workers, reads from the
//! checkpoints in the read model itself, writes rows and checkpoint in one transaction under an epoch, retries what
//! may pass, sets aside what never will, and restarts what failed.
//!
//! A [`Reactor`] does what cannot be taken back: it is never replayed, and told each event at least once, with an id by
//! which the receiver drops repeats.
//!
//! **Nobody but the checkpoint says how far a read model or a reactor has come**; what the log knows of its consumers
//! is used to share out partitions and for nothing else.

// A projection then reads the same in this crate and in another.
extern crate self as balcony_projector;

mod applier;
mod batch;
mod builder;
mod heartbeat;
mod keeper;
mod lag;
mod observer;
mod parking;
mod projection;
pub mod projections;
mod reactor;
mod recent;
mod replica;
mod report;
mod retry;
mod supervisor;
#[cfg(feature = "testkit")]
pub mod testkit;
mod worker;

pub use builder::build;
pub use lag::{Lag, LagError};
pub use projection::{AnyProjection, Decode, Projection, Received};
pub use reactor::{AnyReactor, Delivery, DeliveryPolicy, Publisher, ReactError, Reactor, Start};
pub use replica::{Folder, SEARCH, SEARCH_MODEL};
pub use report::{BatchMeans, Kind, Process, ProjectionState, RebuildState, State, by_topic};
pub use retry::{Outcome, Refused, RetryError, discard, discard_all, retry};
pub use supervisor::Projector;

/// The page's code is compiled and its test is run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-projection.md")]
struct WritingAProjection;
