//! Where a line stands, so that a program that starts again finds it.

use serde::{Deserialize, Serialize};

/// One of the files that were at a path, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Counted from 1 for each path.
    pub number: i64,
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// How many bytes of its beginning `head` is of. They never change, so a file that begins otherwise is another, though
    /// its inode may be the same.
    pub head_bytes: usize,
    /// The CRC-32 of its beginning.
    pub head: u32,
}

/// Where a line begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file that it is in.
    pub file: Generation,
    /// In bytes from the file's beginning.
    pub offset: i64,
    /// From 1.
    pub line: i64,
}
