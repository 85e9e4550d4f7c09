//! An order, as it stands in the file and in the log.

use balcony_event_log::Record;
use balcony_projector::{Decode, cloud_event};
use balcony_statistics::Occurrence;
use balcony_store::Uuid;
use serde::{Deserialize, Serialize};

/// The topic of orders that are not routed, and of everything that is no order.
pub(crate) const ORDERS: &str = "orders";
/// From 0 to 10 years, …, from 80 to 90, and everybody else.
pub(crate) const AGE_GRADES: [&str; 10] =
    ["0010", "1020", "2030", "3040", "4050", "5060", "6070", "7080", "8090", "9999"];
/// How orders are paid.
pub(crate) const PAYMENT_METHODS: [&str; 3] = ["Cash", "Credit", "Debit"];
/// What there is to drink.
pub(crate) const COFFEES: [&str; 9] =
    ["Americano", "Cappuccino", "Cortado", "Espresso", "FlatWhite", "Latte", "Macchiato", "Mocha", "Ristretto"];
/// The most coffees of one order.
pub(crate) const MOST_COFFEES: usize = 10;

/// The topic of orders that are paid so, when they are routed.
pub(crate) fn topic_of(payment_method: &str) -> String {
    format!("{ORDERS}-{}", payment_method.to_ascii_lowercase())
}

/// What somebody ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) customer_age_grade: String,
    pub(crate) payment_method: String,
    pub(crate) orders: Vec<String>,
}

impl Order {
    /// Reads a line. What is wrong with one that is no order is said.
    pub(crate) fn read(line: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let known = |what: &str, value: &str, all: &[&str]| {
            if all.contains(&value) { Ok(()) } else { Err(format!("{value:?} is not {what}: {}", all.join(", "))) }
        };
        known("an age grade", &order.customer_age_grade, &AGE_GRADES)?;
        known("a payment method", &order.payment_method, &PAYMENT_METHODS)?;
        order.orders.iter().try_for_each(|coffee| known("a coffee", coffee, &COFFEES))?;
        match order.orders.len() {
            1..=MOST_COFFEES => Ok(order),
            number => Err(format!("an order has 1 to {MOST_COFFEES} coffees, not {number}")),
        }
    }
}

/// An order in the log, with what the collector stamped on it.
pub(crate) struct Placed {
    id: Uuid,
    at: i64,
    pub(crate) order: Order,
}

impl Decode for Placed {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let (id, at) = (cloud_event::id(record)?, cloud_event::time(record)?.milliseconds());
        // The operator finds the line by this.
        let header = |name| String::from_utf8_lossy(record.headers.get(name).unwrap_or(b"?")).into_owned();
        let named = |error| format!("{}, line {}: {error}", header("ce_source"), header("ce_line"));
        Order::read(&record.payload).map(|order| Some(Self { id, at, order })).map_err(named)
    }
}

impl Occurrence for Placed {
    fn at(&self) -> i64 {
        self.at
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}
