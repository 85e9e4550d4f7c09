use std::fmt;
use std::str::FromStr;

/// What somebody may do beyond their own things. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Does what everybody with a token may do.
    #[default]
    User,
    /// Rules over what users did.
    Moderator,
    /// Does everything.
    Admin,
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of user, moderator, admin")]
pub struct UnknownRole;

impl Role {
    /// The role's name, as tokens carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::User, Self::Moderator, Self::Admin].into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_called_as_tokens_call_it_and_stands_above_those_before_it() {
        assert!(Role::User < Role::Moderator && Role::Moderator < Role::Admin);
        for role in [Role::User, Role::Moderator, Role::Admin] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for text in ["", "Admin", "root", "admin "] {
            assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text:?}");
        }
        assert_eq!(UnknownRole.to_string(), "is not one of user, moderator, admin");
    }
}
