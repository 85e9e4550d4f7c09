//! The places of items in the lists here that are not by time alone.

use balcony_http::cursor::{Key, TimeKey};
use uuid::Uuid;

/// The place of a user in a list by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameKey {
    /// The name in UTF-8.
    pub(crate) name: Vec<u8>,
    pub(crate) id: Uuid,
}

/// The place of a comment in a list by author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorKey {
    pub(crate) author: NameKey,
    pub(crate) comment: TimeKey,
}

impl NameKey {
    /// Before every name: where a list by name begins.
    pub(crate) const FIRST: Self = Self { name: Vec::new(), id: Uuid::nil() };
}

impl Key for NameKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.name);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, name) = bytes.split_first_chunk()?;
        Some(Self { name: name.to_vec(), id: Uuid::from_bytes(*id) })
    }
}

impl Key for AuthorKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.comment.write(bytes);
        self.author.write(bytes);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (comment, author) = bytes.split_at_checked(24)?;
        Some(Self { author: NameKey::read(author)?, comment: TimeKey::read(comment)? })
    }
}

#[cfg(test)]
mod tests {
    use balcony_http::cursor::{Scope, decode, encode};
    use proptest::prelude::*;

    use super::*;

    fn author_key() -> impl Strategy<Value = AuthorKey> {
        (".{0,200}", any::<u128>(), any::<i64>(), any::<u128>()).prop_map(|(name, id, at, comment)| AuthorKey {
            author: NameKey { name: name.into_bytes(), id: Uuid::from_u128(id) },
            comment: TimeKey { at, id: Uuid::from_u128(comment) },
        })
    }

    proptest! {
        #[test]
        fn a_cursor_gives_the_key_it_was_made_of(author in author_key()) {
            let scope = Scope::of("list");
            prop_assert_eq!(decode(scope, &encode(scope, &author.author)), Some(author.author.clone()));
            prop_assert_eq!(decode(scope, &encode(scope, &author)), Some(author));
        }

        #[test]
        fn a_cursor_with_a_changed_character_is_refused(
            key in author_key(), at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]"
        ) {
            let scope = Scope::of("list");
            let cursor = encode(scope, &key);
            let at = at.index(cursor.len());
            prop_assume!(cursor[at..=at] != to);
            let changed = format!("{}{to}{}", &cursor[..at], &cursor[at + 1..]);
            prop_assert_eq!(decode::<AuthorKey>(scope, &changed), None);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,60}") {
            let _ = decode::<NameKey>(Scope::of("list"), &text);
            let _ = decode::<AuthorKey>(Scope::of("list"), &text);
        }
    }
}
