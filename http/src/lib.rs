//! What services on an event log share at their edge: who asks ([`auth`]), what was sent ([`body`], [`params`]), what
//! the client has seen ([`consistency`]), how queries wait for that ([`query`], [`reading`]), how much of it one client may have at a time ([`shares`]) and are answered ([`answer`],
//! [`list`], [`events`]), what is answered when something is wrong ([`problem`]), how all of it is described ([`describe`]), what every service shows of itself ([`service`]), whether it is ready ([`probes`]), and how it is served ([`server`]). **Nothing here knows what the events
//! are**: the names that clients and operators see come from the program.

pub mod answer;
pub mod auth;
pub mod body;
pub mod consistency;
mod cors;
pub mod cursor;
pub mod describe;
pub mod events;
mod faults;
mod idempotency_key;
mod identity_provider;
mod json;
pub mod language;
pub mod list;
mod log_end;
mod message;
pub mod page;
pub mod params;
pub mod probes;
pub mod problem;
mod proxies;
pub mod query;
pub mod rate_limit;
pub mod reading;
mod role;
pub mod server;
pub mod service;
pub mod shares;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod token;

pub use auth::{Admin, Authority, Identity, Subjects, Visitor};
pub use body::{AnyBody, JsonBody, NoBody, SentJson};
pub use consistency::{Consistency, ConsistencyToken};
pub use idempotency_key::IdempotencyKey;
pub use identity_provider::IdentityProvider;
pub use params::{NoParams, Params, PathId};
pub use problem::{Again, FieldError, FieldPlace, Problem};
pub use role::{Role, UnknownRole};
pub use shares::{Client, Share, Shares};
pub use token::Expected;
