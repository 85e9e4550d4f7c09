//! Everything that can happen.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{CommentId, CompanyId, MovieId, Role, UserId};

/// Something that happened. The structs are the data of the newest version of each event type; older versions are
/// brought up to them on reading (see [`crate::cloud_event`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A company was registered.
    CompanyRegistered(CompanyRegistered),
    /// A company wants no more mail.
    CompanyUnsubscribed(CompanyUnsubscribed),
    /// A movie was registered.
    MovieRegistered(MovieRegistered),
    /// A profile was made or replaced.
    ProfileChanged(ProfileChanged),
    /// A comment was posted.
    CommentPosted(CommentPosted),
    /// A comment was deleted.
    CommentDeleted(CommentDeleted),
    /// Somebody became somebody's favourite.
    UserFavorited(UserFavorited),
    /// Somebody is a favourite no more.
    UserUnfavorited(UserUnfavorited),
    /// A movie's page was viewed.
    MovieViewed(MovieViewed),
}

/// A company was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanyRegistered {
    /// The company.
    pub company_id: CompanyId,
    /// Its name.
    pub name: String,
    /// Where mail about its movies goes.
    pub contact_email: String,
}

/// A company wants no more mail to its address, until a company is registered with that address again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanyUnsubscribed {
    /// The company.
    pub company_id: CompanyId,
}

/// A movie was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovieRegistered {
    /// The movie.
    pub movie_id: MovieId,
    /// Its title.
    pub title: String,
    /// The company it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_id: Option<CompanyId>,
    /// The day it came out, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_on: Option<String>,
}

/// A profile was made or replaced, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileChanged {
    /// Whose profile.
    pub user_id: UserId,
    /// The name others see.
    pub display_name: String,
    /// A text about oneself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whether this is the profile that a first command makes from the token: it counts only where there is no
    /// profile yet, so that a late or repeated one takes nothing back.
    #[serde(default)]
    pub initial: bool,
}

/// A comment was posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentPosted {
    /// The comment.
    pub comment_id: CommentId,
    /// The movie it is about.
    pub movie_id: MovieId,
    /// Who wrote it.
    pub author_id: UserId,
    /// Its title, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its body.
    pub body: String,
}

/// A comment was deleted, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentDeleted {
    /// The comment.
    pub comment_id: CommentId,
    /// Who deleted it.
    pub deleted_by: UserId,
    /// What that user was at the time.
    pub role: Role,
}

/// Somebody became somebody's favourite. Again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFavorited {
    /// Whose favourite.
    pub follower_id: UserId,
    /// Who became it.
    pub followee_id: UserId,
}

/// Somebody is a favourite no more. Again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUnfavorited {
    /// Whose favourite.
    pub follower_id: UserId,
    /// Who was it.
    pub followee_id: UserId,
}

/// A movie's page was viewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovieViewed {
    /// The movie.
    pub movie_id: MovieId,
    /// Who viewed it, when they were signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer_id: Option<UserId>,
}

impl Event {
    /// The aggregate the event is about. Events of one aggregate keep their order in the log, because its id is
    /// their key.
    pub fn aggregate(&self) -> Uuid {
        match self {
            Self::CompanyRegistered(event) => event.company_id.0,
            Self::CompanyUnsubscribed(event) => event.company_id.0,
            Self::MovieRegistered(event) => event.movie_id.0,
            Self::ProfileChanged(event) => event.user_id.0,
            Self::CommentPosted(event) => event.comment_id.0,
            Self::CommentDeleted(event) => event.comment_id.0,
            Self::UserFavorited(event) => event.follower_id.0,
            Self::UserUnfavorited(event) => event.follower_id.0,
            Self::MovieViewed(event) => event.movie_id.0,
        }
    }

    /// Whether the event is a fact to be kept for ever, rather than a signal that may be forgotten.
    pub fn is_fact(&self) -> bool {
        !matches!(self, Self::MovieViewed(_))
    }
}
