//! Statistics of anybody's events: how many there were, by whatever they are told apart by, in windows of a minute, an hour
//! and a day, or of other lengths ([`Windows`]), and since ever; with sum, least and most where there is something to measure.
//!
//! A program says what its [`Stream`]s are; [`Statistics`] is then a projection like any other, which it lists among its
//! steps. [`points`] reads a series in time, [`top`] the values that were most frequent in the last minutes,
//! [`of_all_time`] the totals.
//!
//! **Every event is counted once**, in the windows of the time when it happened, however late it comes: counts and
//! checkpoint change in one transaction, a record that repeats an id is told, and nothing depends on where batches
//! end. **The cost of an event does not depend on how many there were.** Windows are kept for a time,
//! counted back from the newest event, and not by a clock, which says only that what is still to come is not the newest;
//! what comes later than that counts in the longer windows alone.
//!
//! A rebuild and a new version take over the counts of what the log has forgotten. **This crate knows nothing of what
//! the events say.**
//!
//! ```
//! use balcony_event_log::Record;
//! use balcony_projector::{Catalogue, Decode};
//! use balcony_statistics::{Occurrence, Statistics, Stream};
//! use balcony_store::Uuid;
//! # struct Sale { id: Uuid, at: i64, shop: String, cents: i64 }
//! # impl Decode for Sale { fn decode(_: &Record) -> Result<Option<Self>, String> { Ok(None) } }
//!
//! impl Occurrence for Sale {
//!     fn at(&self) -> i64 { self.at }
//!     fn id(&self) -> Option<Uuid> { Some(self.id) }
//! }
//!
//! let by_shop = Stream::named("sales").by("shop", |sale: &Sale| Some(sale.shop.clone()));
//! let sales = by_shop.measuring_with_decimals(2, |sale| Some(sale.cents));
//! let statistics = Statistics::new("statistics", 1, ["shop.sales"], [sales]);
//! let shapes = statistics.shapes();
//! let steps = Catalogue::new().with_projection(statistics);
//! // Afterwards: let best = balcony_statistics::top(&reader, &shapes.series("sales", Some("shop"))?, 30, now, None, 10);
//! # assert!(shapes.series("sales", Some("shop")).is_ok() && steps.steps().len() == 1);
//! ```
//!
//! The tables are called `window_counts`, `counted_to` and `counted_ids`; a program has one such projection.

mod clock;
#[cfg(feature = "http")]
pub mod http;
mod inheritance;
mod memory;
mod progress;
mod projection;
mod reading;
mod stream;
mod tally;
mod window;

pub use projection::Statistics;
pub use reading::{Point, Ranked, Stretch, of_all_time, points, top};
pub use stream::{DimensionShape, Occurrence, Series, Shape, Shapes, Stream, Unknown};
pub use tally::Tally;
pub use window::{NotAWindow, Window, Windows};
