//! Reads files that others write, so that a program which takes their contents elsewhere can go on where it was.
//!
//! [`follow`] reads a text line by line through rotation and truncation; [`Lines`] reads one that lies there whole;
//! [`Folder`] notices new and changed files. Each says where a thing stands, or in which version it is, in a form that can be
//! kept. *This crate remembers nothing, and knows nothing of messages.*

mod folder;
mod lines;
mod place;
mod tail;

pub use folder::{Folder, Found};
pub use lines::{Lines, Numbered};
pub use place::{Generation, Place};
pub use tail::{Line, follow};
