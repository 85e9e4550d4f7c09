//! The log as lines, out of one installation and into another: NDJSON of CloudEvents, a record a line.
//!
//! A line says all there is to its record, byte for byte, and where it stood. What is no well-formed event goes along in a
//! wrapper ([`wrapper`]), so that a log that was moved holds what the old one held, broken records included.

mod appending;
mod digest;
mod export;
mod format;
mod import;
mod line;
mod place;
mod present;
mod reading;
mod saved;
mod spool;
mod wrapper;

pub(super) use self::{format::Format, line::encode, place::RecordPlace};
pub use export::ExportOptions;
pub(super) use export::export;
pub use import::ImportOptions;
pub(super) use import::import;
