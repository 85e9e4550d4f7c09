//! What the tests of programs have in common: the Kafka and PostgreSQL that they run on, an installation on these that is a
//! test's own, and processes that end with their test.

#![allow(clippy::unwrap_used, missing_docs)]

mod running;
mod services;

pub use running::Running;
pub use services::{Installed, Services};
