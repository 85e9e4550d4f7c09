//! What people do, as their journeys show it.

macro_rules! deeds {
    ($($(#[$doc:meta])* $deed:ident = $name:literal,)*) => {
        /// Something that a user did, of which a journey tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Deed {
            $($(#[$doc])* $deed,)*
        }

        impl Deed {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$deed),*];

            /// What it is called in rows and in answers.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$deed => $name,)*
                }
            }
        }
    };
}

deeds! {
    /// Was met for the first time.
    Registered = "registered",
    /// Replaced the profile.
    ChangedProfile = "profile.changed",
    /// Posted a comment.
    PostedComment = "comment.posted",
    /// Deleted a comment, of their own or as a moderator.
    DeletedComment = "comment.deleted",
    /// Made somebody a favourite.
    MadeFavorite = "user.favorited",
    /// Ended that.
    UnmadeFavorite = "user.unfavorited",
    /// Viewed a movie's page, which is shown to nobody else.
    ViewedMovie = "movie.viewed",
}

impl Deed {
    /// The one that is called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|deed| deed.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deed_is_found_by_its_name() {
        for &deed in Deed::ALL {
            assert_eq!(Deed::named(deed.name()), Some(deed));
        }
        assert_eq!(Deed::named("comment.liked"), None);
    }
}
