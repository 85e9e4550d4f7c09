//! What commands find in their environment.

use serde_json::Value;

/// The longest value, in bytes.
const LONGEST: usize = 16 << 10;
/// The most variables.
const MOST: usize = 200;
/// The longest name of one that is made of data, in characters.
const LONGEST_NAME: usize = 100;

/// Variables for a command, within bounds: at most 200, of 16 KiB each. What is longer, or cannot be in an environment, is left
/// out; of what is too much, what was set last.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable that the command is promised.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if value.len() <= LONGEST && !value.contains('\0') && self.0.len() < MOST {
            self.0.push((name.to_owned(), value));
        }
    }

    /// Sets a variable that is made of data: `KIND_NAME`, in capitals, with a `_` for what is no letter or digit. So no data can
    /// set a variable of another program.
    pub fn set_of(&mut self, kind: &str, name: &str, value: impl Into<String>) {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().map(letter).take(LONGEST_NAME).collect();
        self.set(&format!("{kind}_{name}"), value);
    }

    /// Sets a variable for each field of `data` when that is an object in JSON: a text as it is, anything else in JSON.
    pub fn set_fields(&mut self, kind: &str, data: &[u8]) {
        let Ok(Value::Object(fields)) = serde_json::from_slice(data) else { return };
        for (name, field) in fields {
            self.set_of(kind, &name, field.as_str().map_or_else(|| field.to_string(), str::to_owned));
        }
    }

    /// Each variable and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_becomes_variables_of_its_kind_alone() {
        let mut environment = Environment::new();
        environment.set("PLACE", "here");
        environment.set_of("HEADER", "ce-type", "sold");
        environment.set_fields("MESSAGE", br#"{"a": "b", "n": 7, "lines": [1], "zero": "a\u0000b"}"#);
        environment.set_fields("MESSAGE", b"no object");
        let all: Vec<_> = environment.iter().collect();
        let fields = [("MESSAGE_A", "b"), ("MESSAGE_LINES", "[1]"), ("MESSAGE_N", "7")];
        assert_eq!(all, [&[("PLACE", "here"), ("HEADER_CE_TYPE", "sold")][..], &fields].concat());
    }

    #[test]
    fn what_is_too_long_or_too_much_is_left_out() {
        let mut environment = Environment::new();
        environment.set("LONG", "x".repeat(LONGEST + 1));
        (0..=MOST).for_each(|number| environment.set("N", number.to_string()));
        assert_eq!((environment.iter().count(), environment.iter().last()), (MOST, Some(("N", "199"))));
        let mut environment = Environment::new();
        environment.set_of("HEADER", &"x".repeat(200), "");
        assert_eq!(environment.iter().next().map(|(name, _)| name.len()), Some("HEADER_".len() + LONGEST_NAME));
    }
}
