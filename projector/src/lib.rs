//! Turns a log of events into read models, into stores of a node's own, and into effects on the world. For anybody's
//! events: **this crate knows nothing of what the events say.**
//!
//! There are three kinds of step. A [`Projection`] changes rows in the database as a batch of events says, and may be
//! replayed. A [`Replica`] is a store of each node's own (an index, a cache, a file) whose commit carries the positions.
//! A [`Reactor`] does what cannot be taken back: it is never replayed, and told each event at least once, with an id by
//! which the receiver drops repeats. [`Transform`] is one that publishes to another topic and does nothing else.
//!
//! The runtime ([`Projector`]) does the rest: it shares the partitions out among the running processes, reads from the
//! checkpoints, writes rows and checkpoint in one transaction under an epoch, retries what may pass, sets aside what never
//! will, builds new generations beside the live ones, and restarts what failed.
//!
//! **Nobody but the checkpoint says how far a step has come**; what the log knows of its consumers is used to share out
//! partitions and for nothing else.

#[cfg(feature = "operations")]
mod accepting;
mod application;
mod applier;
mod away;
mod backoff;
mod batch;
mod board;
mod bound;
mod builder;
mod catalogue;
mod circle;
mod clock;
pub mod cloud_event;
mod decode;
#[cfg(feature = "operations")]
mod errands;
mod error;
mod follower;
mod group;
#[cfg(feature = "operations")]
mod haul;
mod heartbeat;
#[cfg(feature = "operations")]
mod installation;
mod intake;
mod keeper;
mod kept;
mod lag;
mod losses;
mod moment;
mod newest;
mod observer;
pub mod operations;
mod pace;
mod parking;
mod plan;
mod projection;
mod projector;
mod reactor;
mod reading;
mod received;
mod recent;
mod replica;
mod report;
mod rows;
#[cfg(feature = "operations")]
pub mod settings;
mod sink;
mod source;
mod supervise;
mod taken;
#[cfg(feature = "testkit")]
pub mod testkit;
mod trouble;

pub use application::{Application, InstalledTopic, TopicSpec, Topics};
pub use bound::{BindError, BoundLog, Unrecognised};
pub use builder::build;
pub use catalogue::{Catalogue, Step, UnknownStep};
pub use circle::circle;
pub use decode::Decode;
#[cfg(feature = "operations")]
pub use errands::{ErrandError, Errands};
#[cfg(feature = "operations")]
pub use haul::{Haul, Tractor};
#[cfg(feature = "operations")]
pub use installation::{Installation, log_of_another, private_folder};
pub use intake::{Intake, IntakeError, Taken};
pub use lag::{Lag, LagError};
pub use moment::{Moment, NotATime};
pub use newest::{Newest, NewestError};
pub use operations::{Outcome, Refused, Retried, RetryError, discard, discard_all, retry};
pub use projection::{AnyProjection, Projection};
pub use projector::Projector;
pub use reactor::{
    AnyReactor, Delivery, DeliveryPolicy, ParkedDeliveries, Publisher, ReactError, Reactor, Start, Transform,
};
pub use received::Received;
pub use replica::{AnyReplica, Opened, Replica, ReplicaError, ReplicaFolder, ReplicaPlace, ReplicaStore, Serving};
pub use report::{BatchMeans, Kind, Process, RebuildState, State, StepState};
#[cfg(feature = "operations")]
pub use settings::{Deployment, Settings};
