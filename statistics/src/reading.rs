//! What is read: series in time, the most frequent values, counts of all time.

use std::collections::HashMap;

use balcony_store::{Reader, StoreError, Value, row};

use crate::stream::{Series, stored};
use crate::tally::Tally;
use crate::window::{EVER, HOUR, MINUTE, Retention, Window};

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

/// A place in a ranking: a count, and among equals a value.
pub type Place = (i64, String);

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
/// which nothing was counted has none. Nothing is given of the time of which some windows are gone already, because
/// `retention` keeps them no longer.
///
/// # Errors
/// The reader's.
pub async fn points(
    reader: &Reader,
    series: &Series,
    window: Window,
    retention: Retention,
    stretch: &Stretch<'_>,
    limit: i64,
) -> Result<Vec<Point>, StoreError> {
    let kept_since = kept_since(reader, window, retention).await?;
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

/// The first `limit` values of a series by how often they were counted in the last `minutes`, up to and with the one that
/// `now` (milliseconds since 1970) is in; among equals by value. It slides by the minute: hours in the middle are read
/// as such, so that a day costs little more than two hours. What claims to be of a later time does not count.
///
/// # Errors
/// The reader's.
pub async fn top(
    reader: &Reader,
    series: &Series,
    minutes: u32,
    now: i64,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Place>, StoreError> {
    let until = Window::Minute.start(now).saturating_add(MINUTE);
    let since = until.saturating_sub(i64::from(minutes) * MINUTE);
    // Whole hours, if any, from here to there.
    let from = Window::Hour.start(since.saturating_add(HOUR - 1));
    let to = Window::Hour.start(until);
    let (from, to) = if from < to { (from, to) } else { (until, until) };
    let sql = "
        SELECT value, CAST(SUM(counted) AS BIGINT) AS counted FROM (
            SELECT value, counted FROM window_counts
            WHERE series = $1 AND span = $2 AND window_start >= $4 AND window_start < $5
            UNION ALL
            SELECT value, counted FROM window_counts
            WHERE series = $1 AND span = $3 AND window_start >= $5 AND window_start < $6
            UNION ALL
            SELECT value, counted FROM window_counts
            WHERE series = $1 AND span = $2 AND window_start >= $6 AND window_start < $7
        ) AS parts
        GROUP BY value
        HAVING SUM(counted) < $8 OR (SUM(counted) = $8 AND value > $9)
        ORDER BY 2 DESC, 1 LIMIT $10";
    let (count, value) = after.map_or((i64::MAX, ""), |(count, value)| (*count, value.as_str()));
    let params = [
        (&*series.key).into(),
        MINUTE.into(),
        HOUR.into(),
        since.into(),
        from.into(),
        to.into(),
        until.into(),
        count.into(),
        value.into(),
        limit.into(),
    ];
    let rows: Vec<(String, i64)> = reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().map(|(value, count)| (count, value)).collect())
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

/// Where the windows begin that every partition still has.
async fn kept_since(reader: &Reader, window: Window, retention: Retention) -> Result<i64, StoreError> {
    let newest: Vec<(Option<i64>,)> = reader.fetch("SELECT MAX(at) FROM counted_to", &[]).await?;
    let newest = newest.first().and_then(|(newest,)| *newest);
    Ok(newest.map_or(i64::MIN, |newest| retention.kept_since(window, newest)))
}

impl From<PointRow> for Point {
    fn from(row: PointRow) -> Self {
        let tally = Tally { count: row.counted, sum: row.sum, least: row.least, most: row.most };
        Self { window_start: row.window_start, value: row.value, tally }
    }
}
