//! Configurations in TOML, checked whole: everything that is wrong is said at once, by line.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use toml::Spanned;

/// The largest configuration that is read, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// A part of a configuration, which knows where it stands. Its own fields and methods are reached directly.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    part: T,
    at: usize,
}

/// What is wrong with a configuration, by line.
#[derive(Debug)]
pub struct Faults<'t> {
    text: &'t str,
    lines: Vec<(usize, String)>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is nothing to read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is too large to have been written by somebody.
    #[error("has more than {LARGEST} bytes")]
    TooLarge,
    /// What is wrong, in the order of the lines: the number of each, from 1, and what.
    #[error("cannot be used: {}", all(.0))]
    Faulty(Vec<(usize, String)>),
}

/// Reads the configuration at `path`, and says of it what `check` finds. It blocks.
///
/// # Errors
/// See [`Unusable`].
pub fn load<C: DeserializeOwned>(path: &Path, check: impl FnOnce(&C, &mut Faults<'_>)) -> Result<C, Unusable> {
    let size = path.metadata().map_err(Unusable::Unreadable)?.len();
    if size > LARGEST {
        return Err(Unusable::TooLarge);
    }
    let text = std::fs::read_to_string(path).map_err(Unusable::Unreadable)?;
    parse(&text, check)
}

fn parse<C: DeserializeOwned>(text: &str, check: impl FnOnce(&C, &mut Faults<'_>)) -> Result<C, Unusable> {
    let mut faults = Faults { text, lines: Vec::new() };
    let parsed = toml::from_str::<C>(text);
    match &parsed {
        Ok(configuration) => check(configuration, &mut faults),
        Err(error) => faults.say(error.span().map_or(0, |span| span.start), "", error.message().replace('\n', " ")),
    }
    faults.lines.sort();
    match parsed {
        Ok(configuration) if faults.lines.is_empty() => Ok(configuration),
        _ => Err(Unusable::Faulty(faults.lines)),
    }
}

impl Faults<'_> {
    /// Notes `what` is wrong with `word`, which stands behind `at`: in quotes or else as it is. Where it does not, and where it
    /// is empty, the line is that of `at`.
    pub fn say(&mut self, at: usize, word: &str, what: impl Into<String>) {
        let behind = &self.text[at..];
        let quoted = (!word.is_empty()).then(|| format!("\"{word}\""));
        let found = quoted.and_then(|quoted| behind.find(&quoted)).or_else(|| behind.find(word)).unwrap_or(0);
        let line = self.text.bytes().take(at + found).filter(|byte| *byte == b'\n').count() + 1;
        self.lines.push((line, what.into()));
    }
}

impl<T> Placed<T> {
    /// How many bytes stand before it.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { at: spanned.span().start, part: spanned.into_inner() })
    }
}

/// How long something takes, as people write it: seconds as a number, or with a unit (`90s`, `15m`, `2h`). For a field's
/// `deserialize_with`.
///
/// # Errors
/// When it is something else.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let seconds = match &value {
        toml::Value::Integer(seconds) => u64::try_from(*seconds).ok(),
        toml::Value::String(text) => [('s', 1), ('m', 60), ('h', 3_600)]
            .iter()
            .find_map(|(unit, seconds)| Some(u64::from(text.strip_suffix(*unit)?.parse::<u32>().ok()?) * seconds)),
        _ => None,
    };
    seconds.map(Duration::from_secs).ok_or_else(|| D::Error::custom("is no duration, such as 90s, 15m or 2h"))
}

/// Whether `text` is a name of at most `most` characters: lower-case letters, digits and dashes, the first a letter.
pub fn is_name(text: &str, most: usize) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= most && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(legal)
}

/// All that is wrong, on a line each.
fn all(lines: &[(usize, String)]) -> impl fmt::Display {
    lines.iter().map(|(line, what)| format!("\n{line}: {what}")).collect::<String>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rooms {
        room: Vec<Placed<Room>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Room {
        name: String,
        #[serde(default, deserialize_with = "duration")]
        open: Duration,
    }

    fn wrong(text: &str) -> Vec<(usize, String)> {
        let check = |rooms: &Rooms, faults: &mut Faults<'_>| {
            for room in rooms.room.iter().rev().filter(|room| room.name.starts_with("no")) {
                faults.say(room.at(), &room.name, format!("{} is closed", room.name));
                faults.say(room.at(), "", "here");
            }
        };
        match parse(text, check) {
            Ok(_) => Vec::new(),
            Err(Unusable::Faulty(lines)) => lines,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_by_line() {
        let text = "[[room]]\nopen = \"2h\"\nname = \"none\"\n\n[[room]]\nopen = 7\nname = \"hall\"\n[[room]]\nname = \"not\"\n";
        let said = [(1, "here"), (3, "none is closed"), (8, "here"), (9, "not is closed")];
        assert_eq!(wrong(text), said.map(|(line, what)| (line, what.to_owned())));
        assert_eq!(wrong("[[room]]\nname = \"hall\"\n"), []);
    }

    #[test]
    fn what_does_not_parse_is_said_by_line() {
        for (text, line, what) in [
            ("\n[[room]\n", 2, "unclosed"),
            ("[[room]]\nname = \"a\"\ncolour = 1\n", 3, "unknown field"),
            ("[[room]]\nname = \"a\"\nopen = \"soon\"\n", 3, "is no duration"),
            ("[[room]]\nname = \"a\"\nopen = -1\n", 3, "is no duration"),
        ] {
            let said = wrong(text);
            assert!(matches!(&said[..], [(at, said)] if *at == line && said.contains(what)), "{text}: {said:?}");
        }
    }

    #[test]
    fn names_are_of_few_characters() {
        for (text, expected) in
            [("a", true), ("a-1", true), ("1a", false), ("", false), ("a b", false), ("A", false), ("abcd", false)]
        {
            assert_eq!(is_name(text, 3), expected, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("90", 90), ("\"90s\"", 90), ("\"15m\"", 900), ("\"2h\"", 7_200)] {
            let rooms: Rooms = parse(&format!("[[room]]\nname = \"a\"\nopen = {text}\n"), |_, _| {}).unwrap();
            assert_eq!(rooms.room[0].open, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn what_is_not_there_or_too_large_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("rooms.toml");
        let load = || load::<Rooms>(&path, |_, _| {});
        assert!(matches!(load(), Err(Unusable::Unreadable(_))));
        std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
        assert!(matches!(load(), Err(Unusable::TooLarge)));
    }
}
