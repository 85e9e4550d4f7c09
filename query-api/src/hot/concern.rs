//! What a page shows, and which events change it.

use balcony_domain::Event;
use uuid::Uuid;

/// Something that pages show and events change. A page that is kept names all that it shows, so an event that it is not
/// concerned with by any name leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Concern {
    /// Which comments there are at all.
    Comments,
    /// Which comments a movie has.
    CommentsOn(Uuid),
    /// Which comments a user has written.
    CommentsBy(Uuid),
    /// A comment, and whether it is there.
    Comment(Uuid),
    /// Which movies a company has, for every company.
    Movies,
    /// A movie's title.
    Movie(Uuid),
    /// A user's name.
    User(Uuid),
    /// Whom a user has among the favourites.
    FavoritesOf(Uuid),
}

/// What `event` changes. It names everything that it could change: whether it has an effect is known to the read models.
pub(super) fn changed_by(event: &Event) -> Vec<Concern> {
    match event {
        Event::CommentPosted(posted) => vec![
            Concern::Comments,
            Concern::CommentsOn(posted.movie_id.0),
            Concern::CommentsBy(posted.author_id.0),
            Concern::Comment(posted.comment_id.0),
        ],
        Event::CommentDeleted(deleted) => vec![Concern::Comment(deleted.comment_id.0)],
        Event::MovieRegistered(movie) => vec![Concern::Movies, Concern::Movie(movie.movie_id.0)],
        Event::ProfileChanged(profile) => vec![Concern::User(profile.user_id.0)],
        Event::UserFavorited(pair) => vec![Concern::FavoritesOf(pair.follower_id.0)],
        Event::UserUnfavorited(pair) => vec![Concern::FavoritesOf(pair.follower_id.0)],
        Event::CompanyRegistered(_) | Event::CompanyUnsubscribed(_) | Event::MovieViewed(_) => Vec::new(),
    }
}
