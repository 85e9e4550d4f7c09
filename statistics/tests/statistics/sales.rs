//! The events of a shop, and what a plain fold of them gives.

use std::collections::{BTreeMap, HashSet};

use balcony_event_log::{Message, Record};
use balcony_projector::Decode;
use balcony_projector::testkit::Given;
use balcony_statistics::{Occurrence, Point, Statistics, Stream, Tally, Window, Windows};
use balcony_store::Uuid;

/// Something that was sold.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) id: Uuid,
    pub(crate) at: i64,
    pub(crate) shop: String,
    pub(crate) cents: Option<i64>,
}

pub(crate) const TOPIC: &str = "sales";

impl Sale {
    pub(crate) fn message(&self) -> Message {
        let cents = self.cents.map(|cents| cents.to_string()).unwrap_or_default();
        let payload = format!("{},{},{},{cents}", self.id, self.at, self.shop);
        // A record that is repeated has the key of the first.
        Message { key: self.id.as_bytes()[..1].to_vec(), payload: payload.into_bytes(), ..Message::default() }
    }
}

impl Given for Sale {
    fn message(self, _: usize) -> Message {
        Sale::message(&self)
    }
}

impl Decode for Sale {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = String::from_utf8_lossy(&record.payload);
        let parts: Vec<&str> = text.split(',').collect();
        let [id, at, shop, cents] = parts[..] else { return Err(format!("{text:?} is no sale")) };
        let id = id.parse().map_err(|_| "no id")?;
        let at = at.parse().map_err(|_| "no time")?;
        Ok(Some(Self { id, at, shop: shop.to_owned(), cents: cents.parse().ok() }))
    }
}

impl Occurrence for Sale {
    fn at(&self) -> i64 {
        self.at
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}

/// Sales by shop and by range of price, and what is given away by shop.
pub(crate) fn statistics(version: u32) -> Statistics<Sale> {
    let sales = Stream::named("sales")
        .by("shop", |sale: &Sale| Some(sale.shop.clone()))
        .by("range", |sale: &Sale| sale.cents.map(range))
        .measuring_with_decimals(2, |sale: &Sale| sale.cents);
    let gifts = Stream::named("gifts").by("shop", |sale: &Sale| sale.cents.is_none().then(|| sale.shop.clone()));
    Statistics::new("statistics", version, [TOPIC], [sales, gifts])
}

pub(crate) fn range(cents: i64) -> String {
    if cents < 500 { "below 5" } else { "5 and more" }.to_owned()
}

/// The values of a sale in a series.
pub(crate) type ValueOf = fn(&Sale) -> Option<String>;

/// Every series, with whether it is measured.
pub(crate) const SERIES: [(&str, &str, ValueOf, bool); 3] = [
    ("sales", "shop", |sale| Some(sale.shop.clone()), true),
    ("sales", "range", |sale| sale.cents.map(range), true),
    ("gifts", "shop", |sale| sale.cents.is_none().then(|| sale.shop.clone()), false),
];

/// The sales without those that repeat an id.
pub(crate) fn distinct(sales: &[Sale]) -> Vec<&Sale> {
    let mut met = HashSet::new();
    sales.iter().filter(|sale| met.insert(sale.id)).collect()
}

/// What `points` should give, added up sale by sale.
pub(crate) fn folded(
    sales: &[Sale],
    (value_of, is_measured): (ValueOf, bool),
    window: Window,
    kept_since: i64,
) -> Vec<Point> {
    let mut tallies: BTreeMap<(i64, String), Tally> = BTreeMap::new();
    for sale in distinct(sales) {
        let start = sale.at - sale.at.rem_euclid(window.milliseconds());
        let Some(value) = value_of(sale) else { continue };
        if start < kept_since {
            continue;
        }
        let tally = tallies.entry((start, value)).or_default();
        tally.count += 1;
        if let Some(cents) = sale.cents.filter(|_| is_measured) {
            tally.sum = Some(tally.sum.unwrap_or(0) + cents);
            tally.least = Some(tally.least.unwrap_or(cents).min(cents));
            tally.most = Some(tally.most.unwrap_or(cents).max(cents));
        }
    }
    let newest_first = tallies.into_iter().rev();
    newest_first.map(|((window_start, value), tally)| Point { window_start, value, tally }).collect()
}

/// Minutes are kept for two hours, hours for two days.
pub(crate) fn short() -> Windows {
    let hour = std::time::Duration::from_secs(3_600);
    Windows::of([(Window::MINUTE, Some(2 * hour)), (Window::HOUR, Some(48 * hour)), (Window::DAY, None)])
}

/// The same with ten seconds, which are kept for an hour, and with weeks.
pub(crate) fn many() -> Windows {
    let hour = std::time::Duration::from_secs(3_600);
    Windows::of([
        (Window::seconds(10), Some(hour)),
        (Window::MINUTE, Some(2 * hour)),
        (Window::HOUR, Some(48 * hour)),
        (Window::DAY, None),
        (Window::seconds(7 * 24 * 3_600), None),
    ])
}
