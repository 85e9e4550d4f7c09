//! Where a line stands, so that a collector that starts again finds it.

use serde::{Deserialize, Serialize};

/// One of the files that were at a path, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Counted from 1 for each path.
    pub(crate) number: i64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// How many bytes of its beginning `head` is of. They never change, so a file that begins otherwise is another, though
    /// its inode may be the same.
    pub(crate) head_bytes: usize,
    /// The CRC-32 of its beginning.
    pub(crate) head: u32,
}

/// Where a line begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) file: Generation,
    /// In bytes from the file's beginning.
    pub(crate) offset: i64,
    /// From 1.
    pub(crate) line: i64,
}
