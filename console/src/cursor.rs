//! Cursors of the lists here: where they go on, as text that clients send back.

use balcony_http::Params;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The cursor that goes on at `place` in the list called `list`.
pub(crate) fn write<T: Serialize>(list: &str, place: &T) -> String {
    let json = serde_json::to_vec(&(list, place)).expect("a place has text keys alone");
    URL_SAFE_NO_PAD.encode(json)
}

/// Takes `cursor`, which has to belong to the list called `list`.
pub(crate) fn take<T: DeserializeOwned>(params: &mut Params, list: &str) -> Option<T> {
    let text = params.text("cursor")?;
    let read = || {
        let (of, place): (String, T) = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&text).ok()?).ok()?;
        (of == list).then_some(place)
    };
    let place = read();
    if place.is_none() {
        params.refuse("cursor", "is not a cursor of this list with these filters");
    }
    place
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
        for (list, text) in [("b", text.as_str()), ("a", ""), ("a", "e30"), ("a", "?")] {
            let mut params = Params::new(Some(&format!("cursor={text}")));
            assert_eq!(take::<(String, i64)>(&mut params, list), None);
            assert!(params.finish().is_err(), "{list}: {text}");
        }
    }
}
