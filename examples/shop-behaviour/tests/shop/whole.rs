//! The whole file, and what has to be counted of it, by a plain fold.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;

pub const HEAD: &str = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session";

/// Ten thousand rows, and what they come to.
pub struct Whole {
    pub text: Vec<u8>,
    pub rows: u64,
    /// In cents: the sum, the least and the most.
    pub prices: (i64, i64, i64),
    /// How often what is done at which price.
    pub ranges: BTreeMap<(String, String), u64>,
}

pub fn whole() -> Whole {
    let mut text = Vec::new();
    GzDecoder::new(&include_bytes!("shop-behaviour-2020-jan.csv.gz")[..]).read_to_end(&mut text).unwrap();
    let mut whole = Whole { text, rows: 0, prices: (0, i64::MAX, i64::MIN), ranges: BTreeMap::new() };
    for line in std::str::from_utf8(&whole.text).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (kind, price) = (fields[2], fields[7].parse::<f64>().unwrap());
        let cents = (price * 100.0).round() as i64;
        whole.rows += 1;
        whole.prices = (whole.prices.0 + cents, whole.prices.1.min(cents), whole.prices.2.max(cents));
        let range = match price {
            ..10.0 => "0-10",
            ..20.0 => "10-20",
            ..30.0 => "20-30",
            ..40.0 => "30-40",
            ..50.0 => "40-50",
            _ => "50+",
        };
        *whole.ranges.entry((kind.to_owned(), range.to_owned())).or_default() += 1;
    }
    assert_eq!(whole.rows, 10_000);
    whole
}
