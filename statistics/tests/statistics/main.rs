//! Statistics of a shop: what is counted is what a plain fold of its log gives, whatever becomes of the log.

#![allow(clippy::unwrap_used)]

mod folding;
mod forgetting;
#[cfg(feature = "http")]
mod over_http;
mod sales;
