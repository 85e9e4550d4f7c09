//! For the tests of projections: given these events, expect these rows, whatever the runtime makes of the log.
//!
//! A [`Scenario`] is what stands in the log. It is applied by the runtime's own means, in a generation of its own on
//! SQLite and, where `DATABASE_URL` names a server, on PostgreSQL: first one event at a time, then under **schedules**
//! that are drawn from a seed. A schedule cuts the log into batches, mixes partitions, shares them out among several
//! workers and again among others, loses transactions before their commit, lets two workers write at once (PostgreSQL)
//! and makes the secondary indexes first or last. Every schedule must leave the same rows in every table; where one
//! does not, it is made as short as it still fails, and printed with the rows that differ. [`Scenario::with_repetitions`]
//! does the same to a log that has some records twice, which must change nothing.
//!
//! Schedules are the same in every run. Only what two workers do at once is up to the database.

mod case;
mod contents;
mod given;
mod repeating;
mod scenario;
mod schedule;
mod scratch;
mod shrink;

pub use given::Given;
pub use scenario::{Applied, Failure, Scenario};
