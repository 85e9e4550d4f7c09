//! What is read: series in time, the most frequent values, counts of all time.

use std::collections::HashMap;

use balcony_store::{Reader, StoreError, Value, row};

use crate::clock::{latest, now};
use crate::stream::{Series, stored};
use crate::tally::Tally;
use crate::window::{EVER, Window};

/// A part of a series in time. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Stretch<'a> {
    /// Only this value.
    pub value: Option<&'a str>,
    /// Only windows that begin at this time or later.
    pub since: Option<i64>,
    /// Only windows that begin before this time.
    pub until: Option<i64>,
    /// Only what comes after this window and value.
    pub after: Option<(i64, String)>,
}

/// What was counted of one value in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Where the window begins, in milliseconds since 1970.
    pub window_start: i64,
    /// The value.
    pub value: String,
    /// What was counted.
    pub tally: Tally,
}

/// What stands somewhere in a ranking: its count and the value. Among equal counts the value decides.
pub type Ranked = (i64, String);

row! {
    struct PointRow {
        window_start: i64,
        value: String,
        counted: i64,
        sum: Option<i64>,
        least: Option<i64>,
        most: Option<i64>,
    }
}

/// The first `limit` points of a series in `window`s: the newest first, and in one window values backwards. A window in
/// which nothing was counted has none. Nothing is given of the time of which some windows are gone already, because they
/// are kept no longer.
///
/// # Errors
/// The reader's.
pub async fn points(
    reader: &Reader,
    series: &Series,
    window: Window,
    stretch: &Stretch<'_>,
    limit: i64,
) -> Result<Vec<Point>, StoreError> {
    let kept_since = kept_since(reader, series, window).await?;
    let since = stretch.since.unwrap_or(i64::MIN).max(kept_since);
    let until = stretch.until.unwrap_or(i64::MAX);
    let mut params: Vec<Value<'_>> =
        vec![(&*series.key).into(), window.milliseconds().into(), since.into(), until.into(), limit.into()];
    let mut conditions = String::new();
    if let Some((start, value)) = &stretch.after {
        params.extend([(*start).into(), value.as_str().into()]);
        conditions.push_str(" AND (window_start, value) < ($6, $7)");
    }
    if let Some(value) = stretch.value {
        params.push(stored(value).into_owned().into());
        conditions.push_str(&format!(" AND value = ${}", params.len()));
    }
    let sql = format!(
        "SELECT window_start, value, CAST(SUM(counted) AS BIGINT) AS counted, CAST(SUM(sum) AS BIGINT) AS sum,
             MIN(least) AS least, MAX(most) AS most
         FROM window_counts
         WHERE series = $1 AND span = $2 AND window_start >= $3 AND window_start < $4{conditions}
         GROUP BY window_start, value ORDER BY window_start DESC, value DESC LIMIT $5"
    );
    let rows: Vec<PointRow> = reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().map(Point::from).collect())
}

/// The first `limit` values of a series by how often they were counted in the last `minutes`, up to and with the window that
/// `now` (milliseconds since 1970) is in; among equals by value. It slides by the shortest window that is kept for so long;
/// longer ones in the middle are read as such, so that a day costs little more than two hours. What claims to be of a
/// later time does not count.
///
/// # Errors
/// The reader's.
pub async fn top(
    reader: &Reader,
    series: &Series,
    minutes: u32,
    now: i64,
    after: Option<&Ranked>,
    limit: i64,
) -> Result<Vec<Ranked>, StoreError> {
    let length = i64::from(minutes).max(1) * Window::MINUTE.milliseconds();
    let window = series.windows.finest_for(length);
    let until = window.start(now).saturating_add(window.milliseconds());
    // A window that is longer than what is asked for is read whole.
    let since = window.start(until.saturating_sub(length));
    ranked(reader, series, window, (since, until), after, limit).await
}

/// As [`top`], of the time from `since` until `until`, where windows of that length begin.
async fn ranked(
    reader: &Reader,
    series: &Series,
    window: Window,
    (since, until): (i64, i64),
    after: Option<&Ranked>,
    limit: i64,
) -> Result<Vec<Ranked>, StoreError> {
    let (count, value) = after.map_or((i64::MAX, ""), |(count, value)| (*count, value.as_str()));
    let mut params: Vec<Value<'_>> = vec![(&*series.key).into(), count.into(), value.into(), limit.into()];
    let mut parts = Vec::new();
    for (window, since, until) in stretches(series, window, since, until) {
        let first = params.len() + 1;
        params.extend([window.milliseconds().into(), since.into(), until.into()]);
        parts.push(format!(
            "SELECT value, counted FROM window_counts
             WHERE series = $1 AND span = ${first} AND window_start >= ${} AND window_start < ${}",
            first + 1,
            first + 2
        ));
    }
    let sql = format!(
        "SELECT value, CAST(SUM(counted) AS BIGINT) AS counted FROM ({}) AS parts
         GROUP BY value
         HAVING SUM(counted) < $2 OR (SUM(counted) = $2 AND value > $3)
         ORDER BY 2 DESC, 1 LIMIT $4",
        parts.join(" UNION ALL ")
    );
    let rows: Vec<(String, i64)> = reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().map(|(value, count)| (count, value)).collect())
}

/// Windows that make up the time from `since` until `until`, each time of it once: their length, where the first begins, and
/// where the last ends. They are as long as fit, and `window` at the shortest.
fn stretches(series: &Series, mut window: Window, mut since: i64, mut until: i64) -> Vec<(Window, i64, i64)> {
    let shortest = window;
    let mut found = Vec::new();
    for longer in series.windows.lengths().filter(|longer| *longer > shortest) {
        let from = longer.start(since.saturating_add(longer.milliseconds() - 1));
        let to = longer.start(until);
        if from >= to {
            break;
        }
        found.extend([(window, since, from), (window, to, until)]);
        (window, since, until) = (longer, from, to);
    }
    found.push((window, since, until));
    found.retain(|(_, since, until)| since < until);
    found
}

/// What was counted of each of `values` since ever; those of which nothing was are missing.
///
/// # Errors
/// The reader's.
pub async fn of_all_time(
    reader: &Reader,
    series: &Series,
    values: &[String],
) -> Result<HashMap<String, Tally>, StoreError> {
    if values.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<String> = (3..3 + values.len()).map(|number| format!("${number}")).collect();
    let sql = format!(
        "SELECT CAST(0 AS BIGINT) AS window_start, value, CAST(SUM(counted) AS BIGINT) AS counted,
             CAST(SUM(sum) AS BIGINT) AS sum, MIN(least) AS least, MAX(most) AS most
         FROM window_counts
         WHERE series = $1 AND span = $2 AND window_start = 0 AND value IN ({})
         GROUP BY value",
        names.join(", ")
    );
    let mut params: Vec<Value<'_>> = vec![(&*series.key).into(), EVER.into()];
    params.extend(values.iter().map(|value| Value::from(stored(value).into_owned())));
    let rows: Vec<PointRow> = reader.fetch(sql, &params).await?;
    let points = rows.into_iter().map(Point::from);
    Ok(points.map(|point| (point.value, point.tally)).collect())
}

/// Where the newest window of a series begins that has anything in it and begins before `until`.
#[cfg(feature = "http")]
pub(crate) async fn newest(
    reader: &Reader,
    series: &Series,
    window: Window,
    until: i64,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT MAX(window_start) FROM window_counts WHERE series = $1 AND span = $2 AND window_start < $3";
    let params = [(&*series.key).into(), window.milliseconds().into(), until.into()];
    let found: Vec<(Option<i64>,)> = reader.fetch(sql, &params).await?;
    Ok(found.first().and_then(|(newest,)| *newest))
}

/// The `limit` values of a series that were most frequent in the `window`s from `since` until `until`, in their own order.
#[cfg(feature = "http")]
pub(crate) async fn most_frequent(
    reader: &Reader,
    series: &Series,
    window: Window,
    (since, until): (i64, i64),
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let places = ranked(reader, series, window, (since, until), None, limit).await?;
    let mut values: Vec<String> = places.into_iter().map(|(_, value)| value).collect();
    values.sort_unstable();
    Ok(values)
}

/// All points of some values of a series in the `window`s from `since` until `until`, and since when all of them are kept.
#[cfg(feature = "http")]
pub(crate) async fn grid(
    reader: &Reader,
    series: &Series,
    window: Window,
    (since, until): (i64, i64),
    values: &[String],
) -> Result<(i64, Vec<Point>), StoreError> {
    let kept_since = kept_since(reader, series, window).await?;
    if values.is_empty() {
        return Ok((kept_since, Vec::new()));
    }
    let names: Vec<String> = (5..5 + values.len()).map(|number| format!("${number}")).collect();
    let sql = format!(
        "SELECT window_start, value, CAST(SUM(counted) AS BIGINT) AS counted, CAST(SUM(sum) AS BIGINT) AS sum,
             MIN(least) AS least, MAX(most) AS most
         FROM window_counts
         WHERE series = $1 AND span = $2 AND window_start >= $3 AND window_start < $4 AND value IN ({})
         GROUP BY window_start, value",
        names.join(", ")
    );
    let mut params: Vec<Value<'_>> =
        vec![(&*series.key).into(), window.milliseconds().into(), since.max(kept_since).into(), until.into()];
    params.extend(values.iter().map(|value| Value::from(stored(value).into_owned())));
    let rows: Vec<PointRow> = reader.fetch(sql, &params).await?;
    Ok((kept_since, rows.into_iter().map(Point::from).collect()))
}

/// Where the windows begin that every partition still has. A clock that was ahead may have noted a time that is still to come.
async fn kept_since(reader: &Reader, series: &Series, window: Window) -> Result<i64, StoreError> {
    let newest: Vec<(Option<i64>,)> = reader.fetch("SELECT MAX(at) FROM counted_to", &[]).await?;
    let newest = newest.first().and_then(|(newest,)| *newest);
    Ok(newest.map_or(i64::MIN, |newest| series.windows.kept_since(window, newest.min(latest(now())))))
}

impl From<PointRow> for Point {
    fn from(row: PointRow) -> Self {
        let tally = Tally { count: row.counted, sum: row.sum, least: row.least, most: row.most };
        Self { window_start: row.window_start, value: row.value, tally }
    }
}
