use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UserId;

/// What somebody may do beyond their own things. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes and deletes comments of one's own.
    #[default]
    User,
    /// Deletes anybody's comments.
    Moderator,
    /// Registers companies and movies.
    Admin,
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of user, moderator, admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "user" => Ok(Self::User),
            "moderator" => Ok(Self::Moderator),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownRole),
        }
    }
}

impl Role {
    /// The role's name as tokens and events carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

/// Whether `who`, being a `role`, may delete a comment written by `author`.
pub fn may_delete_comment(author: UserId, who: UserId, role: Role) -> bool {
    author == who || role >= Role::Moderator
}

/// Whether `follower` may make `followee` a favourite: anybody but oneself.
pub fn may_favorite(follower: UserId, followee: UserId) -> bool {
    follower != followee
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_author_and_moderators_may_delete_and_nobody_else() {
        let (author, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert!(may_delete_comment(author, author, Role::User));
        assert!(!may_delete_comment(author, other, Role::User));
        assert!(may_delete_comment(author, other, Role::Moderator));
        assert!(may_delete_comment(author, other, Role::Admin));
    }

    #[test]
    fn nobody_is_a_favourite_of_oneself() {
        let (a, b) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert!(may_favorite(a, b) && !may_favorite(a, a));
    }
}
