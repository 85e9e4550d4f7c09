use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Dice, Model, Posted, World, comment, deletion, encoded, ids, movie, time, user};

pub(crate) async fn every_filter_and_order_gives_what_a_plain_sort_gives(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for _ in 0..150 {
        model.post(&mut world, &mut dice, 30);
    }
    for _ in 0..20 {
        model.delete(&mut world, &mut dice);
    }
    world.catch_up(crate::world::EVERYTHING).await;

    for round in 0..120 {
        let mut query = Vec::new();
        let movie = dice.roll(proptest::option::of(0..model.movies.len())).map(|index| model.movies[index].0);
        let author = dice.roll(proptest::option::of(0..model.users.len())).map(|index| model.users[index].0);
        let location = dice.pick(&[None, None, Some("Oslo"), Some("大阪"), Some("oslo")]);
        let since = dice.roll(proptest::option::of(0..30_i64));
        let until = dice.roll(proptest::option::of(0..35_i64));
        // Every filter alone, too.
        let keep = |filter: usize| round % 6 == 5 || round % 6 == filter;
        let (movie, author) = (movie.filter(|_| keep(0)), author.filter(|_| keep(1)));
        let (location, since) = (location.filter(|_| keep(2)), since.filter(|_| keep(3)));
        let until = until.filter(|_| keep(3) || keep(4));
        query.extend(movie.map(|movie| format!("movie={movie}")));
        query.extend(author.map(|author| format!("author={author}")));
        query.extend(location.map(|location| format!("author_location={}", encoded(location))));
        query.extend(since.map(|since| format!("since={}", time(since))));
        query.extend(until.map(|until| format!("until={}", time(until))));
        let holds = |posted: &Posted| {
            movie.is_none_or(|movie| posted.movie == movie)
                && author.is_none_or(|author| posted.author == author)
                && location.is_none_or(|location| model.location(posted.author) == Some(location))
                && since.is_none_or(|since| posted.at >= since)
                && until.is_none_or(|until| posted.at < until)
        };

        let limit = dice.roll(1..9_usize);
        let path = format!("/v1/comments?{}", query.join("&"));
        let newest = model.newest(holds);
        assert_eq!(ids(&world.walk(None, &path, limit).await), newest, "{path}");
        let oldest: Vec<_> = newest.into_iter().rev().collect();
        assert_eq!(ids(&world.walk(None, &format!("{path}&sort=oldest"), limit).await), oldest, "{path}");
        let by_author = model.by_author(holds);
        assert_eq!(ids(&world.walk(None, &format!("{path}&sort=author"), limit).await), by_author, "{path}");
    }
    for &(id, _) in &model.movies {
        let on_it = world.walk(None, &format!("/v1/movies/{id}/comments"), 7).await;
        assert_eq!(ids(&on_it), model.newest(|posted| posted.movie == id));
    }
    for &(id, ..) in &model.users {
        let by_them = world.walk(None, &format!("/v1/users/{id}/comments"), 7).await;
        assert_eq!(ids(&by_them), model.newest(|posted| posted.author == id));
    }
}

/// What a list should hold.
type Expected = fn(&Model) -> Vec<Uuid>;

pub(crate) async fn no_page_repeats_or_skips_while_others_post_and_delete(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    let lists: &[(&str, Expected)] = &[
        ("/v1/comments?sort=newest", |model| model.newest(|_| true)),
        ("/v1/comments?sort=oldest", |model| model.newest(|_| true).into_iter().rev().collect()),
        ("/v1/comments?sort=author", |model| model.by_author(|_| true)),
        ("/v1/comments?author_location=Oslo", |model| {
            model.newest(|posted| model.location(posted.author) == Some("Oslo"))
        }),
    ];
    for round in 0..24 {
        let (path, expected) = lists[round % lists.len()];
        while model.comments.len() < 50 {
            model.post(&mut world, &mut dice, 20);
        }
        world.catch_up(crate::world::EVERYTHING).await;
        let mut throughout: BTreeSet<_> = expected(&model).into_iter().collect();
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let limit = dice.roll(1..12_usize);
            let answer = world.get(&format!("{path}&limit={limit}{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            seen.extend(ids(answer.body["items"].as_array().unwrap()));
            let Some(next) = answer.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            for _ in 0..dice.roll(0..5) {
                if dice.roll(proptest::bool::ANY) {
                    model.post(&mut world, &mut dice, 20);
                } else {
                    model.delete(&mut world, &mut dice);
                }
            }
            world.catch_up(crate::world::EVERYTHING).await;
            throughout.retain(|id| model.comments.contains_key(id));
        }
        let distinct: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{path} repeats a comment");
        assert!(throughout.is_subset(&distinct), "{path} skips a comment");
    }
}

pub(crate) async fn no_page_by_author_repeats_or_skips_who_keeps_the_name_while_others_change_theirs(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for _ in 0..60 {
        model.post(&mut world, &mut dice, 20);
    }
    world.catch_up(crate::world::EVERYTHING).await;
    for (filter, holds) in [("", None), ("&author_location=Oslo", Some("Oslo"))] {
        for _ in 0..12 {
            let mut renamed: BTreeSet<Uuid> = BTreeSet::new();
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let limit = dice.roll(1..9_usize);
                let answer = world.get(&format!("/v1/comments?sort=author{filter}&limit={limit}{cursor}")).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                seen.extend(ids(answer.body["items"].as_array().unwrap()));
                let Some(next) = answer.body["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
                for _ in 0..dice.roll(0..3) {
                    let (number, name) = (dice.roll(0..model.users.len()), dice.pick(crate::world::NAMES));
                    let who = &mut model.users[number];
                    who.1 = name;
                    renamed.insert(who.0);
                    world.append(50, user(who.0, name, who.2));
                }
                world.catch_up(crate::world::EVERYTHING).await;
            }
            let kept = |posted: &Posted| {
                !renamed.contains(&posted.author)
                    && holds.is_none_or(|location| model.location(posted.author) == Some(location))
            };
            let expected = model.by_author(kept);
            seen.retain(|id| kept(&model.comments[id]));
            assert_eq!(seen, expected, "{filter} {renamed:?}");
        }
    }
}

pub(crate) async fn a_comment_that_names_nothing_is_in_no_list_and_hides_no_other(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for &(followee, ..) in &model.users {
        world.append(0, crate::world::favorite(crate::world::user_called("ann"), followee));
    }
    let (owned, company) = model.movies.iter().find_map(|&(movie, company)| Some((movie, company?))).unwrap();
    for _ in 0..4 {
        for _ in 0..15 {
            model.post(&mut world, &mut dice, 15);
        }
        // Some on what is no movie, some by who is no user; at times among those of the others, and alone at the end.
        for _ in 0..30 {
            let (id, nothing) = (world.new_id(), world.new_id());
            let author = dice.pick(&model.users).0;
            let at = dice.roll(0..25_i64);
            let [movie, author] = dice.pick(&[[author, author], [nothing, author], [owned, nothing]]);
            world.append(at, comment(id, movie, author, "…"));
        }
        world.catch_up(crate::world::EVERYTHING).await;
        for limit in [1, 2, 7, 100] {
            let timeline = world.walk(Some("ann"), "/v1/me/timeline", limit).await;
            assert_eq!(ids(&timeline), model.newest(|_| true), "{limit} a page");
            for sort in ["newest", "oldest"] {
                let path = format!("/v1/comments?author_location=Oslo&sort={sort}");
                let mut expected = model.newest(|posted| model.location(posted.author) == Some("Oslo"));
                if sort == "oldest" {
                    expected.reverse();
                }
                assert_eq!(ids(&world.walk(None, &path, limit).await), expected, "{path} {limit}");
            }
            assert_eq!(ids(&world.walk(None, "/v1/comments", limit).await), model.newest(|_| true));
            let by_author = world.walk(None, "/v1/comments?sort=author", limit).await;
            assert_eq!(ids(&by_author), model.by_author(|_| true));
            let its: Vec<Uuid> =
                model.movies.iter().filter(|(_, owner)| *owner == Some(company)).map(|(id, _)| *id).collect();
            let found = world.walk(None, &format!("/v1/companies/{company}/comments"), limit).await;
            assert_eq!(ids(&found), model.newest(|posted| its.contains(&posted.movie)));
        }
    }
}

pub(crate) async fn a_cursor_outlives_the_comment_it_points_at(mut world: World) {
    let (film, author) = (world.new_id(), world.new_id());
    let comments: Vec<_> = (0..4).map(|_| world.new_id()).collect();
    world.happen([(0, movie(film, "M", None)), (0, user(author, "Mia", None))]).await;
    let posts: Vec<_> =
        comments.iter().enumerate().map(|(at, id)| (at as i64, comment(*id, film, author, "x"))).collect();
    world.happen(posts).await;
    for sort in ["newest", "oldest", "author"] {
        let first = world.get(&format!("/v1/comments?sort={sort}&limit=2")).await;
        let cursor = first.body["next_cursor"].as_str().unwrap().to_owned();
        let before = world.get(&format!("/v1/comments?sort={sort}&limit=2&cursor={cursor}")).await;
        assert_eq!(ids(before.body["items"].as_array().unwrap()).len(), 2);
        assert_eq!(before.body["next_cursor"], Value::Null);
    }
    let cursor = world.get("/v1/comments?limit=2").await.body["next_cursor"].as_str().unwrap().to_owned();
    world.happen([(9, deletion(comments[2])), (9, deletion(comments[3]))]).await;
    let rest = world.get(&format!("/v1/comments?cursor={cursor}")).await;
    assert_eq!(ids(rest.body["items"].as_array().unwrap()), [comments[1], comments[0]]);
}

pub(crate) async fn a_cursor_of_another_list_is_refused(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for _ in 0..40 {
        model.post(&mut world, &mut dice, 20);
    }
    world.catch_up(crate::world::EVERYTHING).await;
    let author = model.comments.values().next().unwrap().author;
    let film = model.comments.values().next().unwrap().movie;
    let cursor = world.get("/v1/comments?limit=1").await.body["next_cursor"].as_str().unwrap().to_owned();

    let same = world.get(&format!("/v1/comments?limit=7&sort=newest&cursor={cursor}")).await;
    assert_eq!(same.status, 200, "the limit is no part of it, and the order is the same when it is named");
    for path in [
        "/v1/comments?sort=oldest".to_owned(),
        "/v1/comments?sort=author".to_owned(),
        format!("/v1/comments?author={author}"),
        format!("/v1/comments?movie={film}"),
        "/v1/comments?author_location=Oslo".to_owned(),
        "/v1/comments?since=2020-01-01T00:00:00Z".to_owned(),
        "/v1/comments?until=2020-01-01T00:00:00Z".to_owned(),
        "/v1/movies?".to_owned(),
        format!("/v1/movies/{film}/comments?"),
        format!("/v1/users/{author}/comments?"),
    ] {
        let answer = world.get(&format!("{path}&cursor={cursor}")).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["?cursor".to_owned()]), "{path}");
    }
    for path in ["/v1/me/timeline", "/v1/me/favorites"] {
        let answer = world.get_as("mia", &format!("{path}?cursor={cursor}")).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["?cursor".to_owned()]), "{path}");
    }
    for cursor in ["", "x", "%01", &cursor[1..], &format!("{cursor}A"), &"A".repeat(500)] {
        let answer = world.get(&format!("/v1/comments?cursor={cursor}")).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["?cursor".to_owned()]), "{cursor}");
    }
}

pub(crate) async fn a_deleted_comment_is_gone(mut world: World) {
    let (film, author, id) = (world.new_id(), world.new_id(), world.new_id());
    world.happen([(0, movie(film, "M", None)), (0, user(author, "Mia", None))]).await;
    let path = format!("/v1/comments/{id}");
    assert_eq!(world.get(&path).await.status, 404);

    world.happen([(1_767_225_600_123, comment(id, film, author, "Rain.\n🌧"))]).await;
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "id": id,
        "movie": {"id": film, "title": "M"},
        "author": {"id": author, "display_name": "Mia"},
        "title": null,
        "body": "Rain.\n🌧",
        "posted_at": "2026-01-01T00:00:00.123Z",
    });
    assert_eq!(answer.body, expected);
    assert_eq!(world.get("/v1/comments").await.body["items"], json!([expected]));

    world.happen([(1_767_225_600_124, deletion(id))]).await;
    assert_eq!(world.get(&path).await.status, 410);
    assert_eq!(world.get("/v1/comments").await.body, json!({"items": [], "next_cursor": null}));
    assert_eq!(world.get("/v1/comments/x").await.status, 404);
}

pub(crate) async fn names_are_the_current_ones(mut world: World) {
    let (film, author, id) = (world.new_id(), world.new_id(), world.new_id());
    world.happen([(0, movie(film, "M", None)), (0, user(author, "Mia", Some("Oslo")))]).await;
    world.happen([(1, comment(id, film, author, "x")), (2, user(author, "Mia Ō", Some("Bergen")))]).await;
    let answer = world.get("/v1/comments?sort=author&author_location=Bergen").await;
    assert_eq!(answer.body["items"][0]["author"]["display_name"], "Mia Ō");
    assert_eq!(world.get("/v1/comments?author_location=Oslo").await.body["items"], json!([]));
}

pub(crate) async fn every_wrong_parameter_is_named(world: World) {
    let query = "movie=1&author=&author_location=%01&since=today&until=2026-01-01&sort=best&limit=0&cursor=x&wait=5&\
                 stale=yes&colour=red&Limit=5";
    let answer = world.get(&format!("/v1/comments?{query}")).await;
    assert_eq!(answer.status, 422);
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    let expected = [
        "?Limit",
        "?author",
        "?author_location",
        "?colour",
        "?cursor",
        "?limit",
        "?movie",
        "?since",
        "?sort",
        "?stale",
        "?until",
        "?wait",
    ];
    assert_eq!(pointers, expected);

    let id = Uuid::nil();
    for path in [
        "/v1/movies".to_owned(),
        format!("/v1/movies/{id}"),
        format!("/v1/movies/{id}/comments"),
        format!("/v1/companies/{id}"),
        format!("/v1/companies/{id}/comments"),
        format!("/v1/users/{id}"),
        format!("/v1/users/{id}/comments"),
        format!("/v1/comments/{id}"),
        "/v1/me".to_owned(),
        "/v1/me/favorites".to_owned(),
        "/v1/me/timeline".to_owned(),
    ] {
        let answer = world.get_as("mia", &format!("{path}?colour=red&wait=1s&wait=2s")).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["?wait".to_owned(), "?colour".to_owned()]), "{path}");
    }
}

pub(crate) async fn an_unknown_movie_or_author_is_an_empty_list(world: World) {
    let id = Uuid::nil();
    for filter in [format!("movie={id}"), format!("author={id}"), "author_location=Atlantis".to_owned()] {
        for sort in ["newest", "oldest", "author"] {
            let answer = world.get(&format!("/v1/comments?{filter}&sort={sort}")).await;
            assert_eq!((answer.status, answer.body), (200, json!({"items": [], "next_cursor": null})));
        }
    }
}
