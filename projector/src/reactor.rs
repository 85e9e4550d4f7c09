//! What has effects on the world, and how the runtime holds it.

mod again;
mod delivered;
mod delivering;
pub(crate) mod dispatcher;
mod error;
mod later;
mod ledger;
mod parked;
mod publisher;
mod repeats;
mod spec;
mod transform;
mod window;

pub use error::ReactError;
pub use parked::ParkedDeliveries;
pub use publisher::Publisher;
pub use spec::{AnyReactor, Delivery, DeliveryPolicy, Reactor, Start};
pub use transform::Transform;
