//! What a visitor of the shop did with a product, and what is counted of it.

use balcony_event_log::{Message, Record};
use balcony_files::Numbered;
use balcony_projector::{Decode, Moment, cloud_event};
use balcony_statistics::{Occurrence, Statistics, Stream, Window, Windows};
use serde_json::json;
use uuid::Uuid;

use crate::file::Row;

/// What the events are called in the log.
const SOURCE: &str = "/shop";
const TYPE: &str = "shop.action.v1";
/// What a line is called there that tells none.
const REFUSED: &str = "shop.line.refused.v1";
/// The columns that a file has to have. Others are published as they are.
pub(crate) const COLUMNS: [&str; 4] = ["event_time", "event_type", "price", "user_id"];
/// What a visitor does. Each is a dimension of the stream `ranges`.
pub(crate) const KINDS: [&str; 4] = ["view", "cart", "remove_from_cart", "purchase"];
/// The ranges of prices, to which the lower bound belongs.
pub(crate) const RANGES: [&str; 7] = ["0-10", "10-20", "20-30", "30-40", "40-50", "50+", "below 0"];
/// The highest price, in cents.
const HIGHEST: i64 = 10_000_000_000;

/// What a visitor did with one product.
pub(crate) struct Action {
    id: Uuid,
    /// When, in the shop's time.
    pub(crate) time: Moment,
    kind: &'static str,
    /// In cents; below 0 where the shop gives money back.
    cents: i64,
}

impl Action {
    /// The action that `row` tells: whoever publishes asks, and whoever reads the log asks again.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(crate) fn of(row: &Row, id: Uuid) -> Result<Self, String> {
        let field = |column: &str| row.get(column).map_or("", String::as_str);
        let wrong = |column: &str, what: &str| format!("has the {column} {:?}, which is not {what}", field(column));
        let time =
            time(field("event_time")).ok_or_else(|| wrong("event_time", "a time such as 2020-01-31 00:28:20 UTC"))?;
        let cents = cents(field("price")).ok_or_else(|| wrong("price", "a price of two decimals"))?;
        let kind = KINDS.into_iter().find(|kind| *kind == field("event_type"));
        let kind = kind.ok_or_else(|| wrong("event_type", &format!("one of {}", KINDS.join(", "))))?;
        if field("user_id").is_empty() {
            return Err("has no user_id".to_owned());
        }
        Ok(Self { id, time, kind, cents })
    }

    /// What is appended of `row`. What one visitor does stays in order.
    pub(crate) fn message(&self, row: &Row) -> Message {
        let payload = serde_json::to_vec(row).expect("texts are plain JSON");
        let headers = cloud_event::headers(self.id, SOURCE, TYPE, self.time);
        Message { key: row["user_id"].clone().into_bytes(), headers, payload }
    }

    /// The range of its price.
    fn range(&self) -> &'static str {
        let tens = usize::try_from(self.cents.div_euclid(1_000));
        tens.map_or(RANGES[6], |tens| RANGES[tens.min(5)])
    }
}

/// What is appended in place of a line that tells no action.
pub(crate) fn refusal(id: Uuid, line: &Numbered, reason: &str) -> Message {
    let payload = json!({ "line": line.number, "reason": reason, "text": String::from_utf8_lossy(&line.text) });
    let headers = cloud_event::headers(id, SOURCE, REFUSED, Moment::now());
    Message { key: id.into_bytes().to_vec(), headers, payload: payload.to_string().into_bytes() }
}

impl Decode for Action {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        if !cloud_event::is_of_type(record, TYPE) {
            return Ok(None);
        }
        let row: Row = serde_json::from_slice(&record.payload).map_err(|error| error.to_string())?;
        Self::of(&row, cloud_event::id(record)?).map(Some)
    }
}

impl Occurrence for Action {
    fn at(&self) -> i64 {
        self.time.milliseconds()
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}

/// Prices over time, and how often what is done at which price, by the shop's time.
pub(crate) fn statistics(topic: &str) -> Statistics<Action> {
    let prices = Stream::named("prices")
        .by("all", |_: &Action| Some("all".to_owned()))
        .by("type", |action| Some(action.kind.to_owned()))
        .measuring_with_decimals(2, |action| Some(action.cents));
    let ranges = KINDS.into_iter().fold(Stream::named("ranges"), |stream, kind| {
        stream.by(kind, move |action: &Action| (action.kind == kind).then(|| action.range().to_owned()))
    });
    // All for ever: of a year there are half a million minutes.
    let windows = Windows::of([Window::MINUTE, Window::HOUR, Window::DAY].map(|window| (window, None)));
    Statistics::new("statistics", 1, [topic], [prices, ranges]).in_windows(windows)
}

/// A time such as 2020-01-01 00:28:20 UTC.
fn time(text: &str) -> Option<Moment> {
    let (date, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
    format!("{date}T{time}Z").parse().ok()
}

/// A price such as 15.48, 2.5 or -7 in cents.
fn cents(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let cents = format!("{whole}{decimals:0<2}").parse().ok().filter(|cents| *cents <= HIGHEST);
    cents.filter(|_| is_number(whole) && is_number(decimals) && decimals.len() <= 2).map(|cents: i64| sign * cents)
}
