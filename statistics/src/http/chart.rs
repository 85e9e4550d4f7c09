use std::sync::Arc;

use crate::stream::stored;
use crate::{Series, Shapes, Unknown, Window};

/// A chart of a stream, as a program declares it: lines in time, one for each value of a dimension.
///
/// ```
/// use balcony_statistics::Window;
/// use balcony_statistics::http::{Chart, Drawn};
///
/// let prices = Chart::new("Price by shop", "sales", "shop", Window::MINUTE)
///     .titled_in_japanese("店ごとの値段")
///     .drawing([Drawn::Average])
///     .over(120);
/// # let _ = prices;
/// ```
#[derive(Debug, Clone)]
pub struct Chart {
    pub(super) title: Arc<str>,
    pub(super) japanese: Option<Arc<str>>,
    pub(super) stream: Arc<str>,
    pub(super) dimension: Arc<str>,
    pub(super) values: Vec<String>,
    pub(super) window: Window,
    pub(super) drawn: Vec<Drawn>,
    pub(super) length: u32,
}

/// What is drawn of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drawn {
    /// How many events there were.
    Count,
    /// The sum of the measure.
    Sum,
    /// The sum by the count: what it says where every event of the stream has a measure.
    Average,
    /// The least of the measure.
    Least,
    /// The most of the measure.
    Most,
}

/// What a chart reads.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) series: Series,
    /// Only these values; the most frequent when there are none.
    pub(super) values: Vec<String>,
    pub(super) window: Window,
    pub(super) drawn: Vec<Drawn>,
    /// How many windows it goes back.
    pub(super) length: u32,
}

/// How many windows a chart goes back unless it says otherwise, and at the most.
pub(super) const USUAL_LENGTH: u32 = 60;
pub(super) const MOST_LENGTH: u32 = 500;
/// How many values it has at the most, and how many where none are named.
pub(super) const MOST_VALUES: usize = 12;
pub(super) const USUAL_VALUES: i64 = 5;

impl Drawn {
    /// All there is.
    pub(super) const ALL: [Self; 5] = [Self::Count, Self::Sum, Self::Average, Self::Least, Self::Most];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Average => "average",
            Self::Least => "least",
            Self::Most => "most",
        }
    }
}

impl Chart {
    /// A chart called `title` of how many events of `stream` there were in the last 60 `window`s, by the values of
    /// `dimension` that were most frequent in that time.
    pub fn new(title: &str, stream: &str, dimension: &str, window: Window) -> Self {
        Self {
            title: title.into(),
            japanese: None,
            stream: stream.into(),
            dimension: dimension.into(),
            values: Vec::new(),
            window,
            drawn: vec![Drawn::Count],
            length: USUAL_LENGTH,
        }
    }

    /// With this title for readers of Japanese.
    #[must_use]
    pub fn titled_in_japanese(self, title: &str) -> Self {
        Self { japanese: Some(title.into()), ..self }
    }

    /// Of these values alone, twelve at the most.
    #[must_use]
    pub fn of_values(self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { values: values.into_iter().map(Into::into).collect(), ..self }
    }

    /// Draws this of each value, a line for each.
    #[must_use]
    pub fn drawing(self, drawn: impl IntoIterator<Item = Drawn>) -> Self {
        Self { drawn: drawn.into_iter().collect(), ..self }
    }

    /// Goes back so many windows, 500 at the most.
    #[must_use]
    pub fn over(self, windows: u32) -> Self {
        Self { length: windows, ..self }
    }

    /// The title in English.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The title in Japanese, or in English where it has none.
    pub fn title_in_japanese(&self) -> &str {
        self.japanese.as_ref().unwrap_or(&self.title)
    }

    /// The dimension that it is by.
    pub fn dimension(&self) -> &str {
        &self.dimension
    }

    /// How long its windows are.
    pub fn window(&self) -> Window {
        self.window
    }

    /// What it draws of each value.
    pub fn drawn(&self) -> &[Drawn] {
        &self.drawn
    }

    /// What it reads of what `shapes` has.
    ///
    /// # Panics
    /// When that does not have it: an error of the program.
    pub(super) fn plan(&self, shapes: &Shapes) -> Plan {
        let Self { title, stream, dimension, window, drawn, length, .. } = self;
        let series = shapes.series(stream, Some(dimension));
        let series = series.unwrap_or_else(|unknown| match unknown {
            Unknown::Stream => panic!("the chart {title:?} is of the stream {stream}, which there is not"),
            Unknown::Dimension => panic!("the chart {title:?} is by {dimension}, which is no dimension of {stream}"),
        });
        let is_counted = series.windows.lengths().any(|known| known == *window);
        assert!(is_counted, "the chart {title:?} is in windows of {window}, in which nothing is counted");
        let is_measured = series.decimals.is_some();
        let is_drawn = !drawn.is_empty() && drawn.iter().all(|drawn| is_measured || *drawn == Drawn::Count);
        assert!(is_drawn, "the chart {title:?} draws a measure, which {stream} does not have, or nothing");
        assert!((1..=MOST_LENGTH).contains(length), "the chart {title:?} goes back 1 to {MOST_LENGTH} windows");
        assert!(self.values.len() <= MOST_VALUES, "the chart {title:?} has more than {MOST_VALUES} values");
        let values = self.values.iter().map(|value| stored(&series.value(value)).into_owned()).collect();
        Plan { series, values, window: *window, drawn: drawn.clone(), length: *length }
    }
}
