//! What a chart shows now.

use std::collections::HashMap;

use balcony_http::Problem;
use balcony_projector::Moment;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::StatisticsApi;
use super::chart::{Drawn, Plan, USUAL_VALUES};
use super::decimal::Decimal;
use crate::{Tally, reading};

/// How many more decimals an average has than its measure.
const AVERAGE_DECIMALS: u8 = 2;
const AVERAGE_SCALE: i128 = 100;

/// Lines in time, over windows that follow each other.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drawing {
    /// Where the first window begins.
    #[schema(value_type = String, format = DateTime)]
    from: Moment,
    /// How long a window is, in seconds.
    window_seconds: i64,
    /// How many windows there are. The last is the one that it is now, or, where nothing was counted lately, the last one
    /// with anything in it.
    windows: u32,
    /// The lines, by value.
    lines: Vec<Line>,
}

/// A line.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Line {
    /// The value of the dimension.
    value: String,
    /// What the value is called, where the program says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// `count`, `sum`, `average`, `least` or `most`.
    drawn: &'static str,
    /// How many decimals its measure has; 0 of a count.
    decimals: u8,
    /// A number for each window; null where nothing was measured, and where windows are kept no longer.
    #[schema(value_type = Vec<Option<f64>>)]
    points: Vec<Option<Decimal>>,
}

impl Plan {
    /// What it shows at the time `now`, in milliseconds since 1970.
    pub(super) async fn draw(&self, api: &StatisticsApi, now: i64) -> Result<Drawing, Problem> {
        let reader = api.read_models.reader();
        let Self { series, window, length, .. } = self;
        let step = window.milliseconds();
        let extent = i64::from(*length) * step;
        let running = window.start(now).saturating_add(step);
        let newest = reading::newest(reader, series, *window, running).await?;
        // Without anything for so long, the chart stands where something was.
        let stood = newest.map(|newest| newest.saturating_add(step)).filter(|end| *end <= running - extent);
        let until = stood.unwrap_or(running);
        let since = until.saturating_sub(extent);
        let values = match &*self.values {
            [] => reading::most_frequent(reader, series, *window, (since, until), USUAL_VALUES).await?,
            named => named.to_vec(),
        };
        let (kept_since, points) = reading::grid(reader, series, *window, (since, until), &values).await?;
        let labels = api.labels(series, &values).await;
        let by_place: HashMap<(&str, i64), Tally> =
            points.iter().map(|point| ((&*point.value, point.window_start), point.tally)).collect();
        let starts: Vec<i64> = (0..i64::from(*length)).map(|place| since.saturating_add(place * step)).collect();
        let decimals = series.decimals.unwrap_or(0);
        let point = |value: &str, drawn: Drawn, start: i64| {
            let tally = by_place.get(&(value, start)).copied().unwrap_or_default();
            if start < kept_since { None } else { drawn.of(&tally, decimals) }
        };
        let line = |value: &String, drawn: Drawn| {
            let points = starts.iter().map(|start| point(value, drawn, *start)).collect();
            let decimals = if drawn == Drawn::Count { 0 } else { decimals };
            Line { value: value.clone(), label: labels.get(value).cloned(), drawn: drawn.name(), decimals, points }
        };
        let lines = values.iter().flat_map(|value| self.drawn.iter().map(|drawn| line(value, *drawn))).collect();
        Ok(Drawing { from: super::item::shown(since)?, window_seconds: step / 1_000, windows: *length, lines })
    }
}

impl Drawn {
    /// What it shows of `tally`, whose measure has so many `decimals`.
    fn of(self, tally: &Tally, decimals: u8) -> Option<Decimal> {
        let measured = |units: Option<i64>| units.map(|units| Decimal { units, decimals });
        match self {
            Self::Count => Some(Decimal { units: tally.count, decimals: 0 }),
            Self::Sum => measured(tally.sum),
            Self::Least => measured(tally.least),
            Self::Most => measured(tally.most),
            Self::Average => {
                let sum = i128::from(tally.sum?) * AVERAGE_SCALE;
                let average = sum.checked_div_euclid(tally.count.into())?;
                let units = i64::try_from(average).ok()?;
                Some(Decimal { units, decimals: decimals + AVERAGE_DECIMALS })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_has_two_decimals_more_and_none_is_no_number() {
        let shown = |drawn: Drawn, tally: &Tally| drawn.of(tally, 2).map(|number| number.to_string());
        let prices = Tally { count: 3, sum: Some(-500), least: Some(-600), most: Some(90) };
        let all = Drawn::ALL.map(|drawn| shown(drawn, &prices).expect("a number"));
        assert_eq!(all, ["3", "-5.00", "-1.6667", "-6.00", "0.90"]);
        let nothing = Drawn::ALL.map(|drawn| shown(drawn, &Tally::default()));
        assert_eq!(nothing, [Some("0".to_owned()), None, None, None, None]);
    }
}
