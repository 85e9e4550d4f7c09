//! The read-model database: PostgreSQL for many machines, SQLite when everything runs in one process.
//!
//! SQL is written once, with plain table names and `$1` parameters, and runs on both; this crate holds what differs
//! ([`Database`], [`Tx`]). Every read model lives in a **generation**, which is a schema in PostgreSQL that
//! `search_path` finds, a file in SQLite that is the writer's main database and that readers attach. So SQL never names
//! a generation, and dropping one is dropping a schema or a file.
//!
//! A generation holds its read model's tables, its checkpoints and its parked records, so that all three change in
//! one transaction. Readers read the generation of the version that they were written for.
//!
//! Whoever writes a projection uses [`ReadModel`], [`Tx`], [`Value`] and, for queries, [`Reader`]; whoever runs
//! projections uses the rest. Every name that this crate makes in a database has the [`Namespace`] of the program's
//! settings in it, so that several programs share one. **This crate knows nothing of what is stored: no event, no table
//! but its own.**
//!
//! The Cargo features `postgres` and `sqlite`, both on by default, are the databases that are built in; `testing` adds
//! scratch databases.

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("balcony-store needs a database: turn on its feature `sqlite` or `postgres`");

#[macro_use]
mod on_each;

mod backend;
mod checkpoints;
mod columns;
mod comparand;
mod counts;
mod database;
mod demand;
mod error;
#[cfg(feature = "sqlite")]
mod file_comparand;
#[cfg(feature = "sqlite")]
mod file_readers;
#[cfg(feature = "sqlite")]
mod folder;
mod foreign;
mod founding;
mod generation;
mod generation_tx;
mod generations;
#[cfg(feature = "postgres")]
mod incarnation;
mod insert;
mod installation_key;
mod leftovers;
mod lent;
mod limits;
mod listing;
mod look;
mod lost;
mod migrations;
mod model;
mod namespace;
#[cfg(feature = "postgres")]
mod notify;
mod parked;
#[cfg(feature = "postgres")]
mod peer;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
mod reader;
mod readers;
mod rebuild;
mod requests;
mod row;
#[cfg(feature = "postgres")]
mod server;
#[cfg(feature = "postgres")]
mod server_readers;
#[cfg(feature = "postgres")]
mod session;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_value;
mod tables;
#[cfg(feature = "testing")]
mod testing;
mod tx;
mod value;
mod watch;
mod workers;

pub use checkpoints::Claim;
pub use columns::{Cell, Columns, FromCell};
pub use comparand::Comparand;
pub use counts::add_to_counts;
pub use database::{Database, Writer};
pub use demand::Waiting;
pub use error::StoreError;
pub use foreign::Foreign;
pub use founding::{Founding, Mark};
pub use generation::{BuildOptions, Generation, GenerationState, ListedGeneration};
pub use generation_tx::GenerationTx;
pub use generations::HeldGenerations;
pub use lost::Lost;
pub use model::ReadModel;
pub use namespace::{InvalidNamespace, Namespace};
pub use parked::ParkedRecord;
pub use progress::{Incarnation, Progress};
pub use reader::{Reader, Standing};
pub use rebuild::Lease;
pub use requests::{Before, KeyedRequest};
pub use row::Row;
pub use settings::{DatabasePlace, Settings};
pub use tables::TableDigest;
#[cfg(all(feature = "testing", feature = "postgres"))]
pub use testing::Proxy;
#[cfg(feature = "testing")]
pub use testing::Scratch;
pub use tx::Tx;
pub use value::Value;
pub use workers::WorkerStatus;

pub use sqlx;
pub use sqlx::types::Json;
pub use time::OffsetDateTime;
pub use uuid::Uuid;
