//! What values of a dimension are called, for people.

use std::collections::HashMap;
use std::pin::Pin;

/// Says what values are called, where they are counted by something that nobody reads, such as ids.
pub trait Labels: Send + Sync + 'static {
    /// The labels of those of `values` that have one, by value: values of the dimension `dimension` of the stream `stream`, a hundred
    /// at the most. Whoever shows a value without a label shows the value.
    fn labels<'a>(&'a self, stream: &'a str, dimension: &'a str, values: &'a [String]) -> Labelling<'a>;
}

/// Labels that are looked up.
pub type Labelling<'a> = Pin<Box<dyn Future<Output = HashMap<String, String>> + Send + 'a>>;

/// The longest label, in characters. What is longer is shown by its beginning.
const LONGEST: usize = 200;

/// `label` as far as it is shown.
pub(super) fn shown(mut label: String) -> String {
    if let Some((end, _)) = label.char_indices().nth(LONGEST) {
        label.truncate(end);
        label.push('…');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_too_long_is_shown_by_its_beginning() {
        assert_eq!(shown("映".repeat(LONGEST)), "映".repeat(LONGEST));
        assert_eq!(shown("映".repeat(LONGEST + 1)), format!("{}…", "映".repeat(LONGEST)));
    }
}
