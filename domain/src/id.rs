use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Takes the hyphenated form of 36 characters alone.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(text).map(Self)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

id! {
    /// A company that movies belong to.
    CompanyId;
    /// A movie.
    MovieId;
    /// Somebody who may write.
    UserId;
    /// A comment.
    CommentId;
}

/// A text that is not a UUID in its hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a UUID")]
pub struct NotAnId;

fn parse(text: &str) -> Result<Uuid, NotAnId> {
    if text.len() != 36 {
        return Err(NotAnId);
    }
    Uuid::try_parse(text).map_err(|_| NotAnId)
}

/// The namespace of every id that Balcony derives (UUIDv5, RFC 9562).
pub const DERIVED: Uuid = Uuid::from_u128(0x5b6f_1c57_9f0b_4d3e_8a61_7d2c_0e94_b1fa);

/// The id of what a request with an `Idempotency-Key` makes. The same user, method, path and key give the same id
/// on every machine and for ever, so that a repeated request makes the same event.
pub fn id_of_request(user: UserId, method: &str, path: &str, key: &str) -> Uuid {
    let path = path.to_ascii_lowercase();
    Uuid::new_v5(&DERIVED, format!("request\0{user}\0{method}\0{path}\0{key}").as_bytes())
}

/// The id of the event by which `user` deletes `comment`: however often that is asked for, it is one event.
pub fn id_of_deletion(comment: CommentId, user: UserId) -> Uuid {
    Uuid::new_v5(&DERIVED, format!("deletion\0{comment}\0{user}").as_bytes())
}

/// The id of the event by which the mail of `company` ends that its address gets since `registered_at`, in milliseconds since
/// 1970: however many say so at once, it is one event.
pub fn id_of_unsubscription(company: CompanyId, registered_at: i64) -> Uuid {
    Uuid::new_v5(&DERIVED, format!("unsubscription\0{company}\0{registered_at}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e";
        assert_eq!(id.parse::<MovieId>().map(|id| id.to_string()), Ok(id.to_owned()));
        assert_eq!(id.to_uppercase().parse::<MovieId>().map(|id| id.to_string()), Ok(id.to_owned()));
        for text in ["", "x", &id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}"), &format!("{id} ")]
        {
            assert_eq!(text.parse::<MovieId>(), Err(NotAnId), "{text:?}");
        }
    }

    #[test]
    fn the_id_of_a_request_depends_on_each_of_its_parts() {
        let user = UserId(Uuid::from_u128(1));
        let id = id_of_request(user, "POST", "/v1/movies", "k");
        assert_eq!(id, id_of_request(user, "POST", "/V1/movies", "k"));
        for other in [
            id_of_request(UserId(Uuid::from_u128(2)), "POST", "/v1/movies", "k"),
            id_of_request(user, "PUT", "/v1/movies", "k"),
            id_of_request(user, "POST", "/v1/companies", "k"),
            id_of_request(user, "POST", "/v1/movies", "K"),
        ] {
            assert_ne!(id, other);
        }
    }
}
