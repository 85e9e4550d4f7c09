//! Cursors of the lists here: where they go on, as text that clients send back.

use balcony_http::Params;
use balcony_http::cursor::is_text;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The cursor that goes on at `place` in the list called `list`.
pub(crate) fn write<T: Serialize>(list: &str, place: &T) -> String {
    let json = serde_json::to_vec(&(list, place)).expect("a place has text keys alone");
    URL_SAFE_NO_PAD.encode(json)
}

/// Takes `cursor`, which has to belong to the list called `list`.
pub(crate) fn take<T: DeserializeOwned>(params: &mut Params, list: &str) -> Option<T> {
    let text = params.text("cursor")?;
    let read = || {
        let json: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&text).ok()?).ok()?;
        let (of, place): (String, T) = has_texts(&json).then(|| serde_json::from_value(json).ok())??;
        (of == list).then_some(place)
    };
    let place = read();
    if place.is_none() {
        params.refuse("cursor", "is not a cursor of this list with these filters");
    }
    place
}

/// Whether all texts in `json` are such that a database can be asked about them.
fn has_texts(json: &Value) -> bool {
    match json {
        Value::String(text) => is_text(text),
        Value::Array(items) => items.iter().all(has_texts),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_text(name) && has_texts(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_its_own_list_alone() {
        let text = write("a", &("x", 1));
        let mut params = Params::new(Some(&format!("cursor={text}")));
        assert_eq!(take::<(String, i64)>(&mut params, "a"), Some(("x".to_owned(), 1)));
        assert!(params.finish().is_ok());
        let no_text = write("a", &("x\0", 1));
        for (list, text) in [("b", text.as_str()), ("a", ""), ("a", "e30"), ("a", "?"), ("a", no_text.as_str())] {
            let mut params = Params::new(Some(&format!("cursor={text}")));
            assert_eq!(take::<(String, i64)>(&mut params, list), None);
            assert!(params.finish().is_err(), "{list}: {text}");
        }
    }
}
