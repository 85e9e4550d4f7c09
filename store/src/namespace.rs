use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

/// What is in every name that an installation has outside itself, so that several share a database and a log: 1 to 32
/// lower-case letters and digits, the first a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// A text that is no [`Namespace`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no namespace: it takes 1 to 32 lower-case letters and digits, the first a letter, and not \"pg\"")]
pub struct InvalidNamespace(String);

const LONGEST: usize = 32;
/// Schemas that begin with `pg_` are PostgreSQL's own.
const RESERVED: &str = "pg";

impl Namespace {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        let goes_on = text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit());
        if begins && goes_on && text.len() <= LONGEST && text != RESERVED {
            Ok(Self(text.into()))
        } else {
            Err(InvalidNamespace(text.to_owned()))
        }
    }
}

impl Display for Namespace {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_letters_and_digits() {
        let longest = "a".repeat(LONGEST);
        for text in ["a", "balance2", &longest] {
            assert_eq!(text.parse::<Namespace>().map(|namespace| namespace.to_string()), Ok(text.to_owned()));
        }
        let too_long = "a".repeat(LONGEST + 1);
        for text in ["", "2a", "A", "a_b", "a-b", "ä", "a b", "pg", &too_long] {
            assert_eq!(text.parse::<Namespace>(), Err(InvalidNamespace(text.to_owned())));
        }
    }
}
