//! Reads files that others write, so that a program which takes their contents elsewhere can go on where it was.
//!
//! [`follow`] reads a text line by line through rotation and truncation; [`Lines`] reads one that lies there whole;
//! [`Folder`] notices new and changed files. Each says where a thing stands, or in which version it is, in a form that can be
//! kept. [`configuration`] reads what people write to set a program up, and says what is wrong with it. *This crate remembers nothing, and knows nothing of messages.*

pub mod configuration;
mod folder;
mod lines;
mod place;
mod tail;

pub use folder::{Folder, Found};
pub use lines::{Lines, Numbered};
pub use place::{Generation, Place};
pub use tail::{Line, follow};
