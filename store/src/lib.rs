//! The read-model database: PostgreSQL for many machines, SQLite when everything runs in one process.
//!
//! SQL is written once, with plain table names and `$1` parameters, and runs on both; this crate holds what differs
//! ([`Database`], [`Tx`]). Every read model lives in a **generation**, which is a namespace: a schema in PostgreSQL
//! that `search_path` finds, a file in SQLite that is the writer's main database and that readers attach. So SQL
//! never names a generation, and dropping one is dropping a schema or a file.
//!
//! A generation holds its read model's tables, its checkpoints and its parked events, so that all three change in
//! one transaction. **This crate knows nothing of comments and nothing of events.**

mod checkpoints;
mod database;
mod digest;
mod error;
mod generation;
mod hold;
mod parked;
mod postgres;
mod progress;
mod reader;
mod rebuild;
mod sqlite;
mod tx;
mod value;
mod workers;

pub use checkpoints::Claim;
pub use database::{Database, Settings, Writer};
pub use digest::TableDigest;
pub use error::StoreError;
pub use generation::{BuildOptions, Generation, GenerationState, ListedGeneration, ReadModel};
pub use hold::HeldGenerations;
pub use parked::ParkedRecord;
pub use progress::Progress;
pub use reader::Reader;
pub use rebuild::Lease;
pub use tx::{Row, Tx};
pub use value::Value;
pub use workers::Worker;
