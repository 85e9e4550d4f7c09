//! Where the parts of an embedded installation are in its data folder.

/// The log's file.
pub(crate) const LOG_FILE: &str = "log.db";
/// The file that the process holds whose folder it is.
pub(crate) const LOCK: &str = "lock";
/// The folder of the read models.
pub(crate) const READ_MODELS: &str = "read-models";
