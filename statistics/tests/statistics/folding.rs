//! Statistics equal a plain fold of the log, whatever the schedule.

use std::collections::HashMap;

use balcony_projector::testkit::Scenario;
use balcony_statistics::{Statistics, Stream, Stretch, Window, Windows, of_all_time, points, top};
use balcony_store::{Reader, Uuid};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sales::{SERIES, Sale, TOPIC, distinct, folded, many, short, statistics};

const HISTORIES: u64 = 3;
const SCHEDULES: u64 = 10;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Sales of some days: most as time goes by, some late, some very late, some again.
fn drawn(seed: u64, length: usize) -> Vec<Sale> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut now = 1_700_000_000_000;
    let mut sales: Vec<Sale> = Vec::new();
    while sales.len() < length {
        now += [1_000, MINUTE, HOUR, 5 * HOUR][dice.random_range(0..4)];
        let late = [0, 0, 0, 0, MINUTE, 3 * HOUR, 60 * HOUR][dice.random_range(0..7)];
        if !sales.is_empty() && dice.random_bool(0.15) {
            // As an earlier one, but for the time.
            let mut again = sales[dice.random_range(0..sales.len())].clone();
            again.at = now;
            sales.push(again);
            continue;
        }
        sales.push(Sale {
            id: Uuid::from_u128(dice.random()),
            at: now - late,
            shop: ["Oslo", "Rome", "大阪"][dice.random_range(0..3)].to_owned(),
            cents: dice.random_bool(0.8).then(|| dice.random_range(-100..1_000)),
        });
    }
    sales
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_counts_what_a_plain_fold_does() {
    for seed in 0..HISTORIES {
        for windows in [short(), many()] {
            let sales = drawn(seed, 70);
            let counted = windows.clone();
            let scenario = Scenario::of(move || statistics(1).in_windows(counted.clone())).given(sales.clone());
            for reader in scenario.every_schedule(SCHEDULES).await.readers().await {
                equals_the_fold(&reader, &sales, &windows).await;
            }
        }
    }
}

async fn equals_the_fold(reader: &Reader, sales: &[Sale], windows: &Windows) {
    let shapes = statistics(1).in_windows(windows.clone()).shapes();
    let newest = distinct(sales).iter().map(|sale| sale.at).max().unwrap();
    for (stream, dimension, value_of, is_measured) in SERIES {
        let series = shapes.series(stream, Some(dimension)).unwrap();
        for window in windows.lengths() {
            let kept_since = match window.to_string().as_str() {
                "10s" => floor(newest - HOUR, HOUR),
                "1m" => floor(newest - 2 * HOUR, 6 * HOUR),
                "1h" => floor(newest - 48 * HOUR, 24 * HOUR),
                _ => i64::MIN,
            };
            let expected = folded(sales, (value_of, is_measured), window, kept_since);
            let whole = Stretch::default();
            let found = points(reader, &series, window, &whole, 10_000).await.unwrap();
            assert_eq!(found, expected, "{stream} by {dimension} in {window:?}s");

            // Page by page.
            let mut paged = Vec::new();
            let mut stretch = Stretch::default();
            loop {
                let page = points(reader, &series, window, &stretch, 7).await.unwrap();
                let Some(last) = page.last() else { break };
                stretch.after = Some((last.window_start, last.value.clone()));
                paged.extend(page);
            }
            assert_eq!(paged, expected);

            // A part of it.
            let Some(middle) = expected.get(expected.len() / 2) else { continue };
            let part = Stretch {
                value: Some(&middle.value),
                since: Some(middle.window_start - 5 * window.milliseconds()),
                until: Some(middle.window_start + 1),
                after: None,
            };
            let found = points(reader, &series, window, &part, 10_000).await.unwrap();
            let is_in = |point: &&balcony_statistics::Point| {
                point.value == middle.value
                    && point.window_start >= middle.window_start - 5 * window.milliseconds()
                    && point.window_start <= middle.window_start
            };
            assert_eq!(found, expected.iter().filter(is_in).cloned().collect::<Vec<_>>());
        }

        let mut totals: HashMap<String, i64> = HashMap::new();
        for value in distinct(sales).into_iter().filter_map(value_of) {
            *totals.entry(value).or_default() += 1;
        }
        let values: Vec<String> = totals.keys().cloned().chain(["nowhere".to_owned()]).collect();
        let found = of_all_time(reader, &series, &values).await.unwrap();
        assert_eq!(found.into_iter().map(|(value, tally)| (value, tally.count)).collect::<HashMap<_, _>>(), totals);

        for now in [newest, newest + 17 * MINUTE, newest + 2 * HOUR] {
            for minutes in [1, 30, 60, 90, 240] {
                let first_kept = floor(newest - 2 * HOUR, 6 * HOUR);
                // The shortest windows that are kept for so long.
                let is_in_seconds = minutes <= 60 && windows.lengths().any(|window| window == Window::seconds(10));
                let unit = if is_in_seconds { 10_000 } else { MINUTE };
                let until = floor(now, unit) + unit;
                if until - i64::from(minutes) * MINUTE < first_kept {
                    continue;
                }
                let mut counts: HashMap<String, i64> = HashMap::new();
                for sale in distinct(sales) {
                    if sale.at >= until - i64::from(minutes) * MINUTE
                        && sale.at < until
                        && let Some(value) = value_of(sale)
                    {
                        *counts.entry(value).or_default() += 1;
                    }
                }
                let mut expected: Vec<_> = counts.into_iter().map(|(value, count)| (count, value)).collect();
                expected.sort_by(|(one, this), (other, that)| other.cmp(one).then(this.cmp(that)));
                let found = top(reader, &series, minutes, now, None, 100).await.unwrap();
                assert_eq!(found, expected, "{stream} by {dimension} in {minutes} minutes");
                if let Some(first) = expected.first() {
                    let rest = top(reader, &series, minutes, now, Some(first), 100).await.unwrap();
                    assert_eq!(rest, expected[1..]);
                }
            }
        }
    }
}

fn floor(at: i64, length: i64) -> i64 {
    at - at.rem_euclid(length)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_memorys_reach_counts_again_whatever_the_schedule() {
    let sales = drawn(7, 80);
    for reach in [0, 1, 3, 12] {
        let scenario = Scenario::of(move || statistics(1).in_windows(short()).remembering(reach));
        // The kit compares the rows of every table.
        let applied = scenario.given(sales.clone()).every_schedule(SCHEDULES).await;
        let rows: Vec<(i64,)> = applied.rows("SELECT CAST(COUNT(*) AS BIGINT) FROM counted_ids").await;
        assert!(rows[0].0 <= 3 * (i64::from(reach) + i64::from(reach / 10).max(1) + 1), "{reach}: {rows:?}");
    }
}

#[tokio::test]
async fn a_measure_beyond_all_measure_is_refused() {
    let sale = Sale { id: Uuid::nil(), at: 0, shop: "Oslo".into(), cents: Some(i64::MAX) };
    let refused = Scenario::of(|| statistics(1)).given([sale]).try_every_schedule(0).await;
    assert!(refused.err().unwrap().to_string().contains("is beyond"));
}

#[tokio::test]
async fn an_event_counts_for_each_of_its_values() {
    let letters = |sale: &Sale| sale.shop.chars().map(String::from).collect::<Vec<_>>();
    let stream = move || Stream::named("letters").by_each("letter", letters).measuring(|sale| sale.cents);
    let statistics = move || Statistics::new("statistics", 1, [TOPIC], [stream()]);
    let sale = |id, shop: &str, cents| Sale { id: Uuid::from_u128(id), at: 0, shop: shop.into(), cents: Some(cents) };
    let sales = [sale(1, "anna", 5), sale(2, "", 7), sale(3, "na", 11), sale(1, "anna", 5)];
    for reader in Scenario::of(statistics).given(sales).every_schedule(SCHEDULES).await.readers().await {
        let series = statistics().shapes().series("letters", None).unwrap();
        let counted = of_all_time(&reader, &series, &["a".to_owned(), "n".to_owned()]).await.unwrap();
        let counted = ["a", "n"].map(|letter| (counted[letter].count, counted[letter].sum));
        assert_eq!(counted, [(3, Some(5 + 5 + 11)); 2]);
    }
}
