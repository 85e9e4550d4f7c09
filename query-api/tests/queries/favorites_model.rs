//! The timeline against two models, while comments and favourites race through partitions: a plain join over the same
//! tables, and a fold of what each projection has read so far, however far that is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use balcony_domain::event::CommentDeleted;
use balcony_domain::{CommentId, Event, Role, UserId};
use balcony_store::Reader;
use uuid::Uuid;

use crate::world::{
    Dice, EVERYTHING, Model, PARTITIONS, World, comment, deletion, favorite, ids, unfavorite, user_called,
};

const FOLLOWERS: [&str; 3] = ["ann", "bo", "cy"];

pub(crate) async fn the_timeline_is_what_a_plain_join_and_a_fold_of_what_was_read_give(mut world: World) {
    let mut dice = Dice::new();
    let people = Model::people(&mut world).await;
    let reader = world.reader().await;
    let mut posts = Vec::new();
    let mut shown = BTreeSet::new();
    for round in 0..40 {
        for _ in 0..dice.roll(1..25) {
            let (at, event) = something(&mut world, &mut dice, &people, &mut posts);
            world.append(at, event);
        }
        // Now one is ahead, now the other, and each may be further in one partition than in another.
        for _ in 0..dice.roll(1..4) {
            let name = dice.pick(&["comments", "favorites"]);
            let (most, partition) = (dice.roll(1..40_usize), dice.roll(0..=PARTITIONS as i32));
            world.read(name, most, |number| partition == PARTITIONS as i32 || number == partition).await;
            shown.insert(compare(&world, &reader, &mut dice).await);
        }
        if round % 8 == 7 {
            world.catch_up(EVERYTHING).await;
            shown.insert(compare(&world, &reader, &mut dice).await);
        }
    }
    assert!(shown.len() > 10, "timelines are of many lengths: {shown:?}");
}

/// A post, the same again, a deletion that counts or does not, a favourite that comes or goes, and when.
fn something(world: &mut World, dice: &mut Dice, people: &Model, posts: &mut Vec<(Uuid, Uuid, Uuid)>) -> (i64, Event) {
    // Many at the same millisecond.
    let at = dice.roll(0..60_i64);
    let (follower, followee) = (user_called(dice.pick(&FOLLOWERS)), dice.pick(&people.users).0);
    let event = match dice.roll(0..20) {
        0..10 => {
            let post = (world.new_id(), dice.pick(&people.movies).0, followee);
            posts.push(post);
            comment(post.0, post.1, post.2, "…")
        }
        10..13 if !posts.is_empty() => {
            let (id, movie, author) = dice.pick(posts);
            comment(id, movie, author, "again")
        }
        13..15 if !posts.is_empty() => deletion(dice.pick(posts).0),
        15 if !posts.is_empty() => {
            let (comment_id, deleted_by) = (CommentId(dice.pick(posts).0), UserId(follower));
            Event::CommentDeleted(CommentDeleted { comment_id, deleted_by, role: Role::User })
        }
        16..18 => unfavorite(follower, followee),
        _ => favorite(follower, followee),
    };
    (at, event)
}

/// Compares somebody's timeline, and gives its length.
async fn compare(world: &World, reader: &Reader, dice: &mut Dice) -> usize {
    let name = dice.pick(&FOLLOWERS);
    let expected = fold(world, user_called(name));
    let limit = dice.roll(1..25_usize);
    let timeline = world.walk(Some(name), "/v1/me/timeline", limit).await;
    assert_eq!(ids(&timeline), expected, "{limit} a page");

    let sql = "SELECT comments.id FROM favorites JOIN comments ON comments.author_id = favorites.followee_id
               WHERE favorites.follower_id = $1 AND comments.deleted_at IS NULL
               ORDER BY comments.posted_at DESC, comments.id DESC LIMIT $2";
    let joined: Vec<(Uuid,)> = reader.fetch(sql, &[user_called(name).into(), (limit as i64).into()]).await.unwrap();
    let joined: Vec<Uuid> = joined.into_iter().map(|(id,)| id).collect();
    assert_eq!(joined, expected[..limit.min(expected.len())]);
    expected.len()
}

/// The comments by the favourites of `follower`, the newest first, by what was read.
fn fold(world: &World, follower: Uuid) -> Vec<Uuid> {
    let mut favorites = BTreeSet::new();
    for recorded in world.applied("favorites") {
        match &recorded.event {
            Event::UserFavorited(pair) if pair.follower_id.0 == follower => {
                favorites.insert(pair.followee_id.0);
            }
            Event::UserUnfavorited(pair) if pair.follower_id.0 == follower => {
                favorites.remove(&pair.followee_id.0);
            }
            _ => {}
        }
    }
    let mut comments: BTreeMap<Uuid, (Uuid, i64, bool)> = BTreeMap::new();
    for recorded in world.applied("comments") {
        match &recorded.event {
            Event::CommentPosted(post) => {
                let posted = (post.author_id.0, recorded.time.milliseconds(), true);
                comments.entry(post.comment_id.0).or_insert(posted);
            }
            Event::CommentDeleted(CommentDeleted { comment_id, deleted_by, role }) => {
                if let Some((author, _, stands)) = comments.get_mut(&comment_id.0) {
                    *stands &= *author != deleted_by.0 && *role == Role::User;
                }
            }
            _ => {}
        }
    }
    let mut posted: Vec<_> = comments
        .into_iter()
        .filter(|(_, (author, _, stands))| *stands && favorites.contains(author))
        .map(|(id, (_, at, _))| Reverse((at, id)))
        .collect();
    posted.sort_unstable();
    posted.into_iter().map(|Reverse((_, id))| id).collect()
}
