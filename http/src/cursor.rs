//! Opaque keyset cursors.
//!
//! A cursor is a version, the digest of what it belongs to ([`Scope`]), the key of the last item before it, and the
//! first bytes of a digest of it all, in base64url. The key stands for itself: the item may be deleted meanwhile. A
//! cursor is not secret and proves nothing; the checks only tell a broken one, or one of another list, from a good one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What a cursor belongs to: a list with its filters and its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope([u8; SCOPE]);

/// The place of an item in a list, unique in it: what the list is ordered by.
pub trait Key: Sized {
    /// Adds the key to `bytes`.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Reads what [`Key::write`] wrote; `None` for anything else.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// The place of an item in a list by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeKey {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The item's id: among those of one time, the order goes by it.
    pub id: Uuid,
}

const VERSION: u8 = 1;
const SCOPE: usize = 8;
const CHECK: usize = 4;

impl Scope {
    /// The list `name` without filters, in its only order.
    pub fn of(name: &str) -> Self {
        Self(prefix(name.as_bytes()))
    }

    /// The same list with the filter or order `name` set to `value`. Filters are added in a fixed order.
    pub fn with(self, name: &str, value: impl std::fmt::Display) -> Self {
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value.to_string().as_bytes());
        Self(prefix(&bytes))
    }

    /// The same, or this list where there is no value.
    pub fn with_any(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        value.map_or(self, |value| self.with(name, value))
    }
}

impl TimeKey {
    /// Later than everything: where a list begins whose newest item comes first.
    pub const LATEST: Self = Self { at: i64::MAX, id: Uuid::max() };
    /// Earlier than everything: where a list begins whose oldest item comes first.
    pub const EARLIEST: Self = Self { at: i64::MIN, id: Uuid::nil() };
}

impl Key for TimeKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.at.to_be_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (at, id) = bytes.split_first_chunk()?;
        Some(Self { at: i64::from_be_bytes(*at), id: Uuid::from_slice(id).ok()? })
    }
}

/// The cursor after the item at `key`.
pub fn encode(scope: Scope, key: &impl Key) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&scope.0);
    key.write(&mut bytes);
    let check: [u8; CHECK] = prefix(&bytes);
    bytes.extend_from_slice(&check);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A text that [`Key::write`] wrote; `None` for what is none.
pub fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok().filter(|text| is_text(text))
}

/// Whether a database can be asked about this text: PostgreSQL has none with the character U+0000, so no item's key has it.
pub fn is_text(text: &str) -> bool {
    !text.contains('\0')
}

/// The key in a cursor; `None` when it is malformed or belongs elsewhere.
pub fn decode<K: Key>(scope: Scope, text: &str) -> Option<K> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, check) = bytes.split_last_chunk::<CHECK>()?;
    let (&version, rest) = body.split_first()?;
    let (found, key) = rest.split_first_chunk::<SCOPE>()?;
    if *check != prefix(body) || version != VERSION || *found != scope.0 {
        return None;
    }
    K::read(key)
}

/// The first `N` bytes of the digest of `bytes`.
fn prefix<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time_key() -> impl Strategy<Value = TimeKey> {
        (any::<i64>(), any::<u128>()).prop_map(|(at, id)| TimeKey { at, id: Uuid::from_u128(id) })
    }

    proptest! {
        #[test]
        fn a_cursor_gives_the_key_it_was_made_of(time in time_key()) {
            let scope = Scope::of("list");
            prop_assert_eq!(decode(scope, &encode(scope, &time)), Some(time));
        }

        #[test]
        fn a_cursor_with_a_changed_character_is_refused(
            key in time_key(), at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]"
        ) {
            let scope = Scope::of("list");
            let cursor = encode(scope, &key);
            let at = at.index(cursor.len());
            prop_assume!(cursor[at..=at] != to);
            let changed = format!("{}{to}{}", &cursor[..at], &cursor[at + 1..]);
            prop_assert_eq!(decode::<TimeKey>(scope, &changed), None);
        }

        #[test]
        fn a_cut_or_longer_cursor_is_refused(key in time_key(), length in 0..60_usize) {
            let scope = Scope::of("list");
            let cursor = encode(scope, &key);
            let cut = &cursor[..length.min(cursor.len() - 1)];
            prop_assert_eq!(decode::<TimeKey>(scope, cut), None);
            let longer = format!("{cursor}{cut}A");
            prop_assert_eq!(decode::<TimeKey>(scope, &longer), None);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,60}") {
            let _ = decode::<TimeKey>(Scope::of("list"), &text);
        }
    }

    #[test]
    fn a_text_that_no_database_has_is_none() {
        assert_eq!(text("大阪".as_bytes()).as_deref(), Some("大阪"));
        for bytes in [&b"\0"[..], b"a\0b", b"\xff"] {
            assert_eq!(text(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_list_its_filters_and_their_values() {
        let key = TimeKey { at: 1, id: Uuid::nil() };
        let scope = Scope::of("comments").with("movie", "a").with("sort", "newest");
        let cursor = encode(scope, &key);
        for other in [
            Scope::of("movies").with("movie", "a").with("sort", "newest"),
            Scope::of("comments").with("movie", "b").with("sort", "newest"),
            Scope::of("comments").with("author", "a").with("sort", "newest"),
            Scope::of("comments").with("movie", "a").with("sort", "oldest"),
            Scope::of("comments").with("sort", "newest"),
            Scope::of("comments"),
        ] {
            assert_eq!(decode::<TimeKey>(other, &cursor), None);
        }
        assert_eq!(decode(scope, &cursor), Some(key));
    }
}
