use balcony_http::Problem;
use balcony_projector::Moment;
use serde::Serialize;
use utoipa::ToSchema;

use super::decimal::Decimal;
use crate::{Point, Tally};

/// What was counted of one value in one window of time.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsItem {
    /// Where the window begins.
    #[schema(value_type = String, format = DateTime)]
    window_start: Moment,
    /// The value of the dimension.
    value: String,
    /// How many.
    count: i64,
    #[serde(flatten)]
    measured: Option<Measured>,
}

/// Of a stream that has a measure: its sum, its least and its most in the window; null where nothing was measured.
#[derive(Serialize, ToSchema)]
struct Measured {
    #[schema(value_type = Option<f64>)]
    sum: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    min: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    max: Option<Decimal>,
}

impl StatsItem {
    /// `point`, of a stream whose measure has so many `decimals`, if it has one.
    pub(super) fn of(point: Point, decimals: Option<u8>) -> Result<Self, Problem> {
        let Point { window_start, value, tally: Tally { count, sum, least, most } } = point;
        let window_start = shown(window_start)?;
        let measured = decimals.map(|decimals| {
            let shown = |units: Option<i64>| units.map(|units| Decimal { units, decimals });
            Measured { sum: shown(sum), min: shown(least), max: shown(most) }
        });
        Ok(Self { window_start, value, count, measured })
    }
}

/// The time `milliseconds` after 1970-01-01T00:00:00Z.
pub(super) fn shown(milliseconds: i64) -> Result<Moment, Problem> {
    Moment::in_range(milliseconds).ok_or_else(|| Problem::internal(&OutOfRange))
}

/// A window that begins in no year of four digits.
#[derive(Debug, thiserror::Error)]
#[error("a window begins out of range")]
struct OutOfRange;
