//! JSON as clients send it (RFC 8259). What could be understood in two ways is refused, not guessed at.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::problem::{FieldError, Problem};

/// Reads a JSON object.
///
/// # Errors
/// 400 for what is no JSON, is nested deeper than 127 levels, or has half of a surrogate pair. 422 for what is no object,
/// for an object that has a key twice, and for a number that no double (IEEE 754) is near.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let malformed = |error: serde_json::Error| Problem::malformed(format!("the body is not JSON: {error}"));
    let mut reading = Reading::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Node(&mut reading).deserialize(&mut deserializer);
    let value = match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) if is_out_of_range(&error) => {
            // What is no JSON at all is malformed, whatever stands before the place where it breaks off.
            serde_json::from_slice::<IgnoredAny>(bytes).map_err(malformed)?;
            let error = FieldError::at(&reading.path, "is a number beyond what a double can hold");
            return Err(Problem::invalid(vec![error]));
        }
        Err(error) => return Err(malformed(error)),
    };
    match value {
        Value::Object(fields) if reading.repeated.is_empty() => Ok(fields),
        Value::Object(_) => Err(Problem::invalid(reading.repeated)),
        _ => Err(Problem::invalid(vec![FieldError::at(&[""; 0], "is not an object")])),
    }
}

/// serde_json has no other way to tell it from what is no number.
fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// Where a reading is, and what it found to be wrong.
#[derive(Default)]
struct Reading {
    /// The keys and indexes that lead to the value that is being read.
    path: Vec<String>,
    /// The keys that stand in their object for the second time.
    repeated: Vec<FieldError>,
}

/// Reads one value.
struct Node<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        loop {
            self.0.path.push(read.len().to_string());
            // After an error the path stays, and leads to it.
            let element = elements.next_element_seed(Node(self.0))?;
            self.0.path.pop();
            match element {
                Some(element) => read.push(element),
                None => return Ok(Value::Array(read)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.0.path.push(name.clone());
            let value = fields.next_value_seed(Node(self.0))?;
            if read.insert(name, value).is_some() {
                self.0.repeated.push(FieldError::at(&self.0.path, "stands twice in its object"));
            }
            self.0.path.pop();
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> (u16, Vec<String>) {
        let problem = object(text.as_bytes()).expect_err(text);
        let document = serde_json::to_value(&problem).expect("JSON");
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        let pointers = errors.iter().map(|error| error["pointer"].as_str().expect("a pointer").to_owned());
        (problem.status().as_u16(), pointers.collect())
    }

    #[test]
    fn what_is_read_is_what_the_document_says() {
        let text = r#"{"a":[1,-2,3.5,1e2,"x\u00e9\ud83c\udfac",null,true,{}],"b":{"c":18446744073709551615},"":[]}"#;
        let read = Value::Object(object(text.as_bytes()).expect("an object"));
        assert_eq!(read, serde_json::from_str::<Value>(text).expect("JSON"));
        assert_eq!(read["a"][4], json!("xé🎬"));
    }

    #[test]
    fn a_key_stands_once_in_an_object() {
        for (text, pointers) in [
            (r#"{"a":1,"a":1}"#, &["#/a"][..]),
            (r#"{"a":1,"\u0061":2,"b":3,"b":4}"#, &["#/a", "#/b"]),
            (r#"{"a":[{},{"b":{"c/d":1,"c/d":2}}]}"#, &["#/a/1/b/c~1d"]),
        ] {
            assert_eq!(refused(text), (422, pointers.iter().map(|&pointer| pointer.into()).collect()), "{text}");
        }
        assert!(object(br#"{"a":{"b":1},"c":{"b":1}}"#).is_ok());
    }

    #[test]
    fn a_number_is_one_that_a_double_can_hold() {
        for (text, pointer) in [
            (r#"{"a":1e400}"#, "#/a"),
            (r#"{"a":-1e400}"#, "#/a"),
            (r#"{"a":[0,{"b":1e999}],"c":2}"#, "#/a/1/b"),
            ("1e400", "#"),
        ] {
            assert_eq!(refused(text), (422, vec![pointer.to_owned()]), "{text}");
        }
        assert_eq!(object(br#"{"a":1e-400}"#).expect("an object")["a"], json!(0.0));
        assert_eq!(refused(r#"{"a":1e400"#).0, 400);
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            "",
            " ",
            "{",
            "{} {}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{a:1}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\\ud800\"}",
            "{\"\\ud800\":1}",
            &nested(128),
            &nested(20_000),
        ] {
            assert_eq!(refused(text), (400, vec![]), "{text:.80}");
        }
        assert!(object(nested(126).as_bytes()).is_ok());
        assert_eq!(object(b"{\"a\":\"\xff\"}").expect_err("no UTF-8").status().as_u16(), 400);
        assert_eq!(refused("[]"), (422, vec!["#".to_owned()]));
    }
}
