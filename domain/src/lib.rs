//! What can happen in Balcony and what is allowed.
//!
//! Ids, events, their CloudEvents form, and the rules, as plain values and functions. **There is no I/O, no async,
//! no clock and no randomness here**: whoever calls brings time and ids. The command side asks the rules before it
//! appends an event; every projection asks the same rules when it reads one, so that all of them reach the same
//! verdict where commands raced.

pub mod cloud_event;
mod deed;
pub mod event;
mod id;
mod invisible;
mod mail_address;
pub mod request;
mod role;
mod text;
mod topics;

pub use balcony_timestamp::Timestamp;
pub use cloud_event::{DecodeError, Recorded};
pub use deed::Deed;
pub use event::Event;
pub use id::{CommentId, CompanyId, DERIVED, MovieId, UserId, id_of_deletion, id_of_request, id_of_unsubscription};
pub use mail_address::{mailbox, mailed};
pub use role::{Role, may_delete_comment, may_favorite};
pub use text::{Violation, name_from_token};
pub use topics::Topics;
