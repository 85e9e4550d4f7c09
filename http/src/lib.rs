//! What the command API and the query API share at their edge: who asks ([`auth`]), what was sent ([`body`],
//! [`params`]), what is answered when it is wrong ([`problem`]), and what every service shows of itself
//! ([`service`]). **Nothing here knows what a comment is**, and the two APIs never meet except in the same process.

pub mod auth;
pub mod body;
pub mod consistency;
pub mod params;
pub mod problem;
pub mod rate_limit;
pub mod service;
pub mod telemetry;

pub use auth::{Authority, Identity, Visitor};
pub use body::JsonBody;
pub use consistency::{Consistency, ConsistencyToken};
pub use params::{Params, PathId};
pub use problem::{FieldError, Problem};
