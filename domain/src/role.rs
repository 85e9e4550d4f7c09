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
