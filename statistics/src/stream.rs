use std::borrow::Cow;
use std::sync::Arc;

use balcony_store::Uuid;

use crate::window::Windows;

/// An event that can be counted.
pub trait Occurrence {
    /// When it happened, in milliseconds since 1970. It is counted in the windows of that time, however late it comes.
    fn at(&self) -> i64;

    /// What it is known by. A record that repeats an id is not counted again; see
    /// [`Statistics::remembering`](crate::Statistics::remembering). `None` counts always.
    fn id(&self) -> Option<Uuid>;
}

/// What of the events `E` is counted, and by what: a stream has a name, **dimensions**, each with a value for an event
/// that counts in it, and where there is one a **measure**, whose sum, least and most are kept beside the count.
///
/// ```
/// # struct Sale { shop: &'static str, cents: i64 }
/// use balcony_statistics::Stream;
///
/// let sales: Stream<Sale> = Stream::named("sales")
///     .by("shop", |sale: &Sale| Some(sale.shop.to_owned()))
///     .by("range", |sale: &Sale| Some(if sale.cents < 1_000 { "below 10" } else { "10 and more" }.to_owned()))
///     .measuring_with_decimals(2, |sale| Some(sale.cents));
/// ```
pub struct Stream<E> {
    pub(crate) name: Arc<str>,
    pub(crate) dimensions: Vec<Dimension<E>>,
    pub(crate) measure: Option<Measure<E>>,
    decimals: u8,
}

type Measure<E> = Box<dyn Fn(&E) -> Option<i64> + Send + Sync>;
/// Hands each value of an event to a function.
type ValuesOf<E> = Box<dyn Fn(&E, &mut dyn FnMut(String)) + Send + Sync>;

/// What a stream is counted by.
pub(crate) struct Dimension<E> {
    pub(crate) name: Arc<str>,
    /// The stream's name and its own, as the table has them.
    pub(crate) series: Arc<str>,
    pub(crate) values: ValuesOf<E>,
    has_ids: bool,
}

/// What streams there are, what they are counted by and in which windows, for those who read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shapes {
    streams: Arc<[Shape]>,
    windows: Windows,
}

/// What a stream is counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The stream's name.
    pub name: Arc<str>,
    /// Its dimensions, in the order in which they were declared.
    pub dimensions: Vec<DimensionShape>,
    /// How many digits of its measure are decimals; `None` where it has no measure.
    pub decimals: Option<u8>,
}

/// What a dimension is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionShape {
    /// Its name.
    pub name: Arc<str>,
    /// Whether its values are ids; see [`Stream::by_id`].
    pub has_ids: bool,
}

/// One dimension of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub(crate) key: Arc<str>,
    has_ids: bool,
    /// How many digits of its stream's measure are decimals; `None` where there is no measure.
    pub decimals: Option<u8>,
    /// The windows that it is counted in.
    pub windows: Windows,
}

/// What there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No stream has this name.
    #[error("there is no stream of this name")]
    Stream,
    /// The stream has no dimension of this name.
    #[error("is not a dimension of this stream")]
    Dimension,
}

/// The longest value, in bytes. What is longer is counted under its beginning.
const LONGEST_VALUE: usize = 256;
/// The most decimals that a measure has.
const MOST_DECIMALS: u8 = 12;

impl<E> Stream<E> {
    /// A stream without a dimension, which counts nothing yet.
    ///
    /// # Panics
    /// When the name is not made of lower-case letters, digits, hyphens and underscores.
    pub fn named(name: &str) -> Self {
        Self { name: checked(name), dimensions: Vec::new(), measure: None, decimals: 0 }
    }

    /// Counts by `dimension`: an event under the value that it has there, and not at all where it has none.
    ///
    /// # Panics
    /// When the name is not made of lower-case letters, digits, hyphens and underscores, or is there already.
    #[must_use]
    pub fn by(self, dimension: &str, value: impl Fn(&E) -> Option<String> + Send + Sync + 'static) -> Self {
        self.by_each(dimension, value)
    }

    /// Counts by a `dimension` in which an event has any number of values: it counts once for each, and as often for one as that
    /// is there, each time with its measure.
    ///
    /// # Panics
    /// As [`Stream::by`].
    #[must_use]
    pub fn by_each<V: IntoIterator<Item = String>>(
        self,
        dimension: &str,
        values: impl Fn(&E) -> V + Send + Sync + 'static,
    ) -> Self {
        self.counted_by(dimension, Box::new(move |event, each| values(event).into_iter().for_each(each)), false)
    }

    /// Counts by a `dimension` whose values are ids. Whoever reads may write one in any form of a UUID.
    ///
    /// # Panics
    /// As [`Stream::by`].
    #[must_use]
    pub fn by_id(self, dimension: &str, id: impl Fn(&E) -> Option<Uuid> + Send + Sync + 'static) -> Self {
        let value = move |event: &E, each: &mut dyn FnMut(String)| {
            id(event).map(|id| id.to_string()).into_iter().for_each(each)
        };
        self.counted_by(dimension, Box::new(value), true)
    }

    fn counted_by(mut self, dimension: &str, values: ValuesOf<E>, has_ids: bool) -> Self {
        let name = checked(dimension);
        assert!(self.dimensions.iter().all(|known| known.name != name), "{name} is declared twice");
        let series = series_key(&self.name, &name);
        self.dimensions.push(Dimension { name, series, values, has_ids });
        self
    }

    /// Keeps the sum, the least and the most of what `measure` gives: whole numbers of the smallest unit (cents,
    /// milliseconds), so that the order in which they are added up does not matter. An event whose measure is beyond a
    /// million million, either way, is refused, and so parked.
    #[must_use]
    pub fn measuring(self, measure: impl Fn(&E) -> Option<i64> + Send + Sync + 'static) -> Self {
        self.measuring_with_decimals(0, measure)
    }

    /// The same of numbers whose last `decimals` digits are decimals when they are shown: of cents with 2 decimals, 524 is
    /// shown as 5.24, and -5 as -0.05. They are counted as whole numbers all the same.
    ///
    /// # Panics
    /// With more than 12 decimals, as many as the largest measure has digits.
    #[must_use]
    pub fn measuring_with_decimals(
        mut self,
        decimals: u8,
        measure: impl Fn(&E) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        assert!(decimals <= MOST_DECIMALS, "a measure has at most {MOST_DECIMALS} decimals");
        self.measure = Some(Box::new(measure));
        self.decimals = decimals;
        self
    }

    fn shape(&self) -> Shape {
        let shape =
            |dimension: &Dimension<E>| DimensionShape { name: dimension.name.clone(), has_ids: dimension.has_ids };
        let dimensions = self.dimensions.iter().map(shape).collect();
        Shape { name: self.name.clone(), dimensions, decimals: self.measure.as_ref().map(|_| self.decimals) }
    }
}

impl Shapes {
    /// What `streams` are counted by in `windows`.
    pub fn of<E>(streams: &[Stream<E>], windows: Windows) -> Self {
        Self { streams: streams.iter().map(Stream::shape).collect(), windows }
    }

    /// The streams, in the order in which they were declared.
    pub fn iter(&self) -> impl Iterator<Item = &Shape> {
        self.streams.iter()
    }

    /// The windows that all of them are counted in.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// A dimension of a stream; the stream's first where none is named.
    ///
    /// # Errors
    /// [`Unknown`] says what there is not.
    pub fn series(&self, stream: &str, dimension: Option<&str>) -> Result<Series, Unknown> {
        let shape = self.iter().find(|shape| *shape.name == *stream).ok_or(Unknown::Stream)?;
        let mut dimensions = shape.dimensions.iter();
        let found = match dimension {
            Some(name) => dimensions.find(|known| *known.name == *name),
            None => dimensions.next(),
        };
        let found = found.ok_or(Unknown::Dimension)?;
        Ok(Series {
            key: series_key(stream, &found.name),
            has_ids: found.has_ids,
            decimals: shape.decimals,
            windows: self.windows.clone(),
        })
    }
}

impl Series {
    /// `value` as it is counted: an id may be written in other ways.
    pub fn value<'a>(&self, value: &'a str) -> Cow<'a, str> {
        match Uuid::try_parse(value) {
            Ok(id) if self.has_ids => id.to_string().into(),
            _ => value.into(),
        }
    }
}

fn series_key(stream: &str, dimension: &str) -> Arc<str> {
    format!("{stream}/{dimension}").into()
}

fn checked(name: &str) -> Arc<str> {
    let is_fit = |character| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_');
    assert!(!name.is_empty() && name.chars().all(is_fit), "{name:?} is no name of a stream or a dimension");
    name.into()
}

/// A value as it is stored, which every database can.
pub(crate) fn stored(value: &str) -> Cow<'_, str> {
    let value = &value[..value.floor_char_boundary(LONGEST_VALUE)];
    if value.contains('\0') { value.replace('\0', "\u{fffd}").into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_stored_as_every_database_can() {
        assert_eq!(stored("a"), "a");
        assert_eq!(stored("a\0b"), "a\u{fffd}b");
        let long = "é".repeat(200);
        assert_eq!(stored(&long), "é".repeat(128));
    }

    #[test]
    fn an_id_is_read_in_any_form_and_another_value_as_it_is() {
        let stream: Stream<()> = Stream::named("sales").by_id("who", |()| None).by("code", |()| None);
        let shapes = Shapes::of(&[stream], Windows::default());
        let value =
            |dimension, value: &str| shapes.series("sales", Some(dimension)).expect("known").value(value).into_owned();
        let (plain, written) = ("0192F0C17C3E7B0A9D582F6A1B3C4D5E", "0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e");
        assert_eq!(value("who", plain), written);
        assert_eq!(value("who", "nobody"), "nobody");
        assert_eq!(value("code", plain), plain);
    }

    #[test]
    fn names_are_made_of_what_a_path_and_a_query_take_as_they_are() {
        for fit in ["views", "remove_from_cart", "by-hour-24"] {
            assert_eq!(&*checked(fit), fit);
        }
        for unfit in ["", "Views", "a b", "a/b", "é"] {
            assert!(std::panic::catch_unwind(|| checked(unfit)).is_err(), "{unfit}");
        }
    }

    #[test]
    fn a_series_is_found_by_stream_and_dimension() {
        let stream: Stream<()> = Stream::named("sales").by("shop", |()| None).by("range", |()| None);
        let shapes = Shapes::of(&[stream], Windows::default());
        assert_eq!(&*shapes.series("sales", None).expect("the first").key, "sales/shop");
        assert_eq!(&*shapes.series("sales", Some("range")).expect("named").key, "sales/range");
        assert_eq!(shapes.series("sales", Some("who")), Err(Unknown::Dimension));
        assert_eq!(shapes.series("people", None), Err(Unknown::Stream));
    }
}
