//! The shelf against a model: read models that lag, answers that are on their way for long, crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balcony_domain::event::{
    CommentDeleted, CommentPosted, MovieRegistered, ProfileChanged, UserFavorited, UserUnfavorited,
};
use balcony_domain::{CommentId, Event, MovieId, Role, UserId};
use balcony_event_log::{Positions, TopicPartition};
use uuid::Uuid;

use super::concern::{Concern, changed_by};
use super::shelf::{Lease, Shelf};

const PARTITIONS: usize = 3;
const THINGS: u64 = 2;
const STEPS: usize = 400;
const SCHEDULES: u64 = 150;

/// A page, by what it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Page {
    All,
    OfMovie(Uuid),
    OfUser(Uuid),
    /// A movie's first two comments by id.
    FirstOfMovie(Uuid),
    One(Uuid),
    Timeline(Uuid),
    /// What is listed where every movie counts.
    OfAllMovies,
}

/// How far each of two read models has applied each partition.
type Applied = [[usize; PARTITIONS]; 2];
const REGISTRY: usize = 0;
const COMMENTS: usize = 1;

#[derive(Default)]
struct World {
    log: [Vec<Event>; PARTITIONS],
    applied: Applied,
    /// What is known of it: never more than what is.
    known: Applied,
    crashes: u32,
    read: [usize; PARTITIONS],
}

/// An answer on its way: its page, its lease, and what the database gave once it was asked.
struct Reading {
    page: Page,
    lease: Lease<u32>,
    found: Option<Answered>,
}

/// An answer, with what it is concerned with, and what the read models had applied.
type Answered = (String, Option<Vec<Concern>>, Applied);

struct Numbers(u64);

impl Numbers {
    /// The next of a sequence that is the same for the same seed (xorshift).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn id(kind: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(kind, number)
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition::new("facts", i32::try_from(number).expect("few"))
}

fn positions(of: &[usize; PARTITIONS]) -> Positions {
    of.iter().enumerate().map(|(number, &next)| (partition(number), next as i64)).collect()
}

fn an_event(numbers: &mut Numbers) -> Event {
    let movie = MovieId(id(1, numbers.below(THINGS)));
    let user = UserId(id(2, numbers.below(THINGS)));
    let other = UserId(id(2, numbers.below(THINGS)));
    let comment = numbers.below(2 * THINGS);
    // A comment is always on the same movie and by the same user, however often it is posted.
    let (of_movie, of_user) = (MovieId(id(1, comment % THINGS)), UserId(id(2, comment / 2 % THINGS)));
    let comment_id = CommentId(id(3, comment));
    let some_text = numbers.below(1_000).to_string();
    match numbers.below(10) {
        0 | 1 => Event::MovieRegistered(MovieRegistered {
            movie_id: movie,
            title: some_text,
            company_id: None,
            released_on: None,
        }),
        2 | 3 => Event::ProfileChanged(ProfileChanged {
            user_id: user,
            display_name: some_text,
            about: None,
            location: None,
            initial: false,
        }),
        4 => Event::UserFavorited(UserFavorited { follower_id: user, followee_id: other }),
        5 => Event::UserUnfavorited(UserUnfavorited { follower_id: user, followee_id: other }),
        6 => Event::CommentDeleted(CommentDeleted { comment_id, deleted_by: of_user, role: Role::User }),
        _ => Event::CommentPosted(CommentPosted {
            comment_id,
            movie_id: of_movie,
            author_id: of_user,
            title: None,
            body: some_text,
        }),
    }
}

fn a_page(numbers: &mut Numbers) -> Page {
    let number = numbers.below(THINGS);
    match numbers.below(7) {
        0 => Page::All,
        1 => Page::OfMovie(id(1, number)),
        2 => Page::OfUser(id(2, number)),
        3 => Page::One(id(3, numbers.below(2 * THINGS))),
        4 => Page::Timeline(id(2, number)),
        5 => Page::OfAllMovies,
        _ => Page::FirstOfMovie(id(1, number)),
    }
}

impl World {
    /// What `page` shows when the read models have applied so much, and with what it is concerned; `None` where it lacks a
    /// comment whose movie or author is not there.
    fn page(&self, page: Page, applied: &Applied) -> (String, Option<Vec<Concern>>) {
        let mut movies = BTreeMap::new();
        let mut users = BTreeMap::new();
        let mut favorites = BTreeSet::new();
        let mut comments = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        for (number, log) in self.log.iter().enumerate() {
            for event in &log[..applied[REGISTRY][number]] {
                match event {
                    Event::MovieRegistered(movie) => drop(movies.insert(movie.movie_id.0, movie.title.clone())),
                    Event::ProfileChanged(user) => drop(users.insert(user.user_id.0, user.display_name.clone())),
                    _ => {}
                }
            }
            for event in &log[..applied[COMMENTS][number]] {
                match event {
                    Event::CommentPosted(posted) => drop(comments.entry(posted.comment_id.0).or_insert(posted)),
                    Event::CommentDeleted(gone) => drop(deleted.insert(gone.comment_id.0)),
                    Event::UserFavorited(pair) => drop(favorites.insert((pair.follower_id.0, pair.followee_id.0))),
                    Event::UserUnfavorited(pair) => {
                        favorites.remove(&(pair.follower_id.0, pair.followee_id.0));
                    }
                    _ => {}
                }
            }
        }
        let is_listed = |comment: &&CommentPosted| match page {
            Page::All | Page::OfAllMovies => true,
            Page::OfMovie(movie) | Page::FirstOfMovie(movie) => comment.movie_id.0 == movie,
            Page::OfUser(user) => comment.author_id.0 == user,
            Page::One(id) => comment.comment_id.0 == id,
            Page::Timeline(follower) => favorites.contains(&(follower, comment.author_id.0)),
        };
        let listed = comments.values().copied().filter(|comment| !deleted.contains(&comment.comment_id.0));
        let mut listed: Vec<&CommentPosted> = listed.filter(is_listed).collect();
        let mut ahead = None;
        let is_named = |comment: &&CommentPosted| {
            movies.contains_key(&comment.movie_id.0) && users.contains_key(&comment.author_id.0)
        };
        let are_named = listed.iter().all(is_named);
        listed.retain(is_named);
        if matches!(page, Page::FirstOfMovie(_)) && listed.len() > 2 {
            ahead = Some(listed[2]);
            listed.truncate(2);
        }
        let mut text: String = listed
            .iter()
            .map(|comment| {
                let (movie, user) = (&movies[&comment.movie_id.0], &users[&comment.author_id.0]);
                format!("{} {} {movie} {user}\n", comment.comment_id.0, comment.body)
            })
            .collect();
        if ahead.is_some() {
            text.push_str("and more");
        }
        if page == Page::OfAllMovies {
            text.push_str(&format!("{movies:?}"));
        }
        let rows = listed.iter().copied().chain(ahead).flat_map(|comment| {
            [
                Concern::Comment(comment.comment_id.0),
                Concern::Movie(comment.movie_id.0),
                Concern::User(comment.author_id.0),
            ]
        });
        let of_page = match page {
            Page::All => vec![Concern::Comments],
            Page::OfMovie(movie) | Page::FirstOfMovie(movie) => vec![Concern::CommentsOn(movie)],
            Page::OfUser(user) => vec![Concern::CommentsBy(user)],
            Page::One(_) if listed.is_empty() => return (text, None),
            Page::One(_) => vec![],
            Page::Timeline(user) => vec![Concern::Comments, Concern::FavoritesOf(user)],
            Page::OfAllMovies => vec![Concern::Comments, Concern::Movies],
        };
        (text, are_named.then(|| of_page.into_iter().chain(rows).collect()))
    }

    fn known(&self) -> Positions {
        positions(&self.known[REGISTRY]).up_to(&positions(&self.known[COMMENTS]))
    }

    fn read(&self) -> Positions {
        positions(&self.read)
    }

    /// Whether the log was read as far as either read model is known to have come.
    fn is_within(&self) -> bool {
        self.known.iter().all(|known| known.iter().zip(&self.read).all(|(known, read)| known <= read))
    }
}

/// Runs a schedule in which no event changes what `is_overlooked` says. Gives how many pages came from the shelf, or the
/// first that was wrong.
fn run(seed: u64, is_overlooked: impl Fn(&Concern) -> bool) -> Result<usize, String> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1));
    let mut world = World::default();
    let mut shelf: Shelf<u32, (String, Applied)> = Shelf::new(if seed.is_multiple_of(3) { 6_000 } else { 1 << 20 });
    shelf.begin(world.read());
    let mut readings: Vec<Reading> = Vec::new();
    let mut hits = 0;
    for _ in 0..STEPS {
        let (model, number) = (numbers.below(2) as usize, numbers.below(PARTITIONS as u64) as usize);
        match numbers.below(24) {
            0 => {
                let event = an_event(&mut numbers);
                world.log[event.aggregate().as_u64_pair().1 as usize % PARTITIONS].push(event);
            }
            // A read model comes further.
            1 | 2 => {
                let end = world.log[number].len();
                let applied = &mut world.applied[model][number];
                *applied += numbers.below((end - *applied) as u64 + 1) as usize;
            }
            // It becomes known how far it has come.
            3 => world.known[model] = world.applied[model],
            // The node reads the log, further than the read models or not as far.
            4 | 5 => {
                let next = world.read[number];
                let to = next + numbers.below((world.log[number].len() - next) as u64 + 1) as usize;
                for offset in next..to {
                    let mut changed = changed_by(&world.log[number][offset]);
                    changed.retain(|concern| !is_overlooked(concern));
                    shelf.change(&changed, &partition(number), offset as i64 + 1);
                }
                world.read[number] = to;
                let known = world.known();
                shelf.reach(&world.read(), || known);
            }
            // Everybody catches up.
            6 => {
                let ends = std::array::from_fn(|number| world.log[number].len());
                (world.applied, world.known) = ([ends; 2], [ends; 2]);
            }
            // The database is asked on behalf of somebody who began a while ago, and the answer is kept.
            7 | 8 if !readings.is_empty() => {
                let chosen = numbers.below(readings.len() as u64) as usize;
                let applied = world.applied;
                let page = readings[chosen].page;
                match readings[chosen].found {
                    None => {
                        let (text, concerns) = world.page(page, &applied);
                        readings[chosen].found = Some((text, concerns, applied));
                    }
                    Some(_) => {
                        let Reading { page, lease, found } = readings.swap_remove(chosen);
                        if let Some((text, Some(concerns), applied)) = found
                            && lease.standing == world.crashes
                        {
                            shelf.keep(name(page), lease, (text, applied), 100, concerns.into());
                        }
                    }
                }
            }
            // A crash takes back what was committed last.
            9 if numbers.below(16) == 0 => {
                let back = numbers.below(3) as usize;
                for applied in world.applied.iter_mut().flatten() {
                    *applied = applied.saturating_sub(back);
                }
                world.known = world.applied;
                world.crashes += 1;
            }
            _ => {
                let page = a_page(&mut numbers);
                let found = if world.is_within() { shelf.find(&name(page), &world.crashes) } else { None };
                match found {
                    Some((found, read_at)) => {
                        hits += 1;
                        // It may have been read when the read models were further than the node.
                        let further =
                            |model: usize| std::array::from_fn(|number| world.read[number].max(read_at[model][number]));
                        let (expected, _) = world.page(page, &[further(REGISTRY), further(COMMENTS)]);
                        if found != expected {
                            return Err(format!("{page:?} is {found:?} instead of {expected:?}"));
                        }
                    }
                    None => {
                        let lease = Lease { standing: world.crashes, reached: world.known() };
                        readings.push(Reading { page, lease, found: None });
                        if numbers.below(2) == 0 {
                            // At once.
                            let Some(Reading { page, lease, .. }) = readings.pop() else { unreachable!() };
                            if let (text, Some(concerns)) = world.page(page, &world.applied) {
                                shelf.keep(name(page), lease, (text, world.applied), 100, concerns.into());
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(hits)
}

fn name(page: Page) -> Arc<str> {
    format!("{page:?}").into()
}

#[test]
fn what_is_kept_is_what_the_read_models_show_where_the_log_was_read_to() {
    let mut hits = 0;
    for seed in 1..=SCHEDULES {
        hits += run(seed, |_| false).unwrap_or_else(|wrong| panic!("schedule {seed}: {wrong}"));
    }
    assert!(hits as u64 > SCHEDULES, "only {hits} pages came from the shelf");
}

/// Each rule of forgetting is needed.
#[test]
fn without_any_one_rule_of_forgetting_a_page_is_wrong() {
    type IsOverlooked = fn(&Concern) -> bool;
    let rules: [(&str, IsOverlooked); 8] = [
        ("comments", |concern| matches!(concern, Concern::Comments)),
        ("comments on a movie", |concern| matches!(concern, Concern::CommentsOn(_))),
        ("comments by a user", |concern| matches!(concern, Concern::CommentsBy(_))),
        ("a comment", |concern| matches!(concern, Concern::Comment(_))),
        ("movies", |concern| matches!(concern, Concern::Movies)),
        ("a movie", |concern| matches!(concern, Concern::Movie(_))),
        ("a user", |concern| matches!(concern, Concern::User(_))),
        ("favourites", |concern| matches!(concern, Concern::FavoritesOf(_))),
    ];
    for (rule, is_overlooked) in rules {
        let is_missed = (1..=SCHEDULES).any(|seed| run(seed, is_overlooked).is_err());
        assert!(is_missed, "{rule}: nothing depends on it");
    }
}

#[test]
fn pages_take_no_more_memory_than_they_may() {
    let most = 20_000;
    let mut shelf: Shelf<u32, u64> = Shelf::new(most);
    shelf.begin(Positions::new());
    let lease = || Lease { standing: 0, reached: Positions::new() };
    for number in 0..1_000_u64 {
        shelf.keep(number.to_string().into(), lease(), number, 500, [Concern::Comment(id(3, number))].into());
        assert!(shelf.bytes() <= most, "{}", shelf.bytes());
        // The first is asked for all the time.
        assert_eq!(shelf.find("0", &0), Some(0), "after {number}");
    }
    assert_eq!(shelf.find("1", &0), None);
    assert_eq!(shelf.find("999", &0), Some(999));
    shelf.keep("too large".into(), lease(), 0, most, [].into());
    assert_eq!(shelf.find("too large", &0), None);
    shelf.clear();
    assert_eq!(shelf.bytes(), 0);
}

#[test]
fn what_was_changed_is_not_remembered_without_end() {
    let mut shelf: Shelf<u32, u64> = Shelf::new(1 << 20);
    shelf.begin(Positions::new());
    let mut read = Positions::new();
    for number in 0..100_000_u64 {
        shelf.change(&[Concern::Comment(id(3, number))], &partition(0), number as i64 + 1);
        read.set(partition(0), number as i64 + 1);
        shelf.reach(&read, Positions::new);
    }
    // Nobody knows any more what changed: nothing is kept until the read models are as far as that.
    let early = Lease { standing: 0, reached: Positions::new() };
    shelf.keep("early".into(), early, 1, 10, [Concern::Comment(id(3, 5))].into());
    assert_eq!(shelf.find("early", &0), None);
    shelf.keep("late".into(), Lease { standing: 0, reached: read }, 2, 10, [Concern::Comment(id(3, 5))].into());
    assert_eq!(shelf.find("late", &0), Some(2));
}
