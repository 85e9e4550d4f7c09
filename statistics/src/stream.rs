use std::borrow::Cow;
use std::sync::Arc;

use balcony_store::Uuid;

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
///     .measuring(|sale| Some(sale.cents));
/// ```
pub struct Stream<E> {
    pub(crate) name: Arc<str>,
    pub(crate) dimensions: Vec<Dimension<E>>,
    pub(crate) measure: Option<Measure<E>>,
}

type Measure<E> = Box<dyn Fn(&E) -> Option<i64> + Send + Sync>;
type ValueOf<E> = Box<dyn Fn(&E) -> Option<String> + Send + Sync>;

/// What a stream is counted by.
pub(crate) struct Dimension<E> {
    pub(crate) name: Arc<str>,
    /// The stream's name and its own, as the table has them.
    pub(crate) series: Arc<str>,
    pub(crate) value: ValueOf<E>,
}

/// What streams there are and what they are counted by, for those who read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shapes(Arc<[Shape]>);

/// What a stream is counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The stream's name.
    pub name: Arc<str>,
    /// The names of its dimensions, in the order in which they were declared.
    pub dimensions: Vec<Arc<str>>,
    /// Whether it has a measure.
    pub is_measured: bool,
}

/// One dimension of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub(crate) key: Arc<str>,
    /// Whether its stream has a measure.
    pub is_measured: bool,
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

impl<E> Stream<E> {
    /// A stream without a dimension, which counts nothing yet.
    ///
    /// # Panics
    /// When the name is not made of lower-case letters, digits and hyphens.
    pub fn named(name: &str) -> Self {
        Self { name: checked(name), dimensions: Vec::new(), measure: None }
    }

    /// Counts by `dimension`: an event under the value that it has there, and not at all where it has none.
    ///
    /// # Panics
    /// When the name is not made of lower-case letters, digits and hyphens, or is there already.
    #[must_use]
    pub fn by(mut self, dimension: &str, value: impl Fn(&E) -> Option<String> + Send + Sync + 'static) -> Self {
        let name = checked(dimension);
        assert!(self.dimensions.iter().all(|known| known.name != name), "{name} is declared twice");
        let series = series_key(&self.name, &name);
        self.dimensions.push(Dimension { name, series, value: Box::new(value) });
        self
    }

    /// Keeps the sum, the least and the most of what `measure` gives: whole numbers of the smallest unit (cents,
    /// milliseconds), so that the order in which they are added up does not matter. An event whose measure is beyond a
    /// million million, either way, is refused, and so parked.
    #[must_use]
    pub fn measuring(mut self, measure: impl Fn(&E) -> Option<i64> + Send + Sync + 'static) -> Self {
        self.measure = Some(Box::new(measure));
        self
    }

    fn shape(&self) -> Shape {
        let dimensions = self.dimensions.iter().map(|dimension| dimension.name.clone()).collect();
        Shape { name: self.name.clone(), dimensions, is_measured: self.measure.is_some() }
    }
}

impl Shapes {
    /// What `streams` are counted by.
    pub fn of<E>(streams: &[Stream<E>]) -> Self {
        Self(streams.iter().map(Stream::shape).collect())
    }

    /// The streams, in the order in which they were declared.
    pub fn iter(&self) -> impl Iterator<Item = &Shape> {
        self.0.iter()
    }

    /// A dimension of a stream; the stream's first where none is named.
    ///
    /// # Errors
    /// [`Unknown`] says what there is not.
    pub fn series(&self, stream: &str, dimension: Option<&str>) -> Result<Series, Unknown> {
        let shape = self.0.iter().find(|shape| *shape.name == *stream).ok_or(Unknown::Stream)?;
        let mut dimensions = shape.dimensions.iter();
        let found = match dimension {
            Some(name) => dimensions.find(|known| ***known == *name),
            None => dimensions.next(),
        };
        let found = found.ok_or(Unknown::Dimension)?;
        Ok(Series { key: series_key(stream, found), is_measured: shape.is_measured })
    }
}

fn series_key(stream: &str, dimension: &str) -> Arc<str> {
    format!("{stream}/{dimension}").into()
}

fn checked(name: &str) -> Arc<str> {
    let is_fit = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
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
    fn a_series_is_found_by_stream_and_dimension() {
        let stream: Stream<()> = Stream::named("sales").by("shop", |()| None).by("range", |()| None);
        let shapes = Shapes::of(&[stream]);
        assert_eq!(&*shapes.series("sales", None).expect("the first").key, "sales/shop");
        assert_eq!(&*shapes.series("sales", Some("range")).expect("named").key, "sales/range");
        assert_eq!(shapes.series("sales", Some("who")), Err(Unknown::Dimension));
        assert_eq!(shapes.series("people", None), Err(Unknown::Stream));
    }
}
