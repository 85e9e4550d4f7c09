//! What is trending, statistics, recommendations, and views in one's own journey.

use std::time::{SystemTime, UNIX_EPOCH};

use balcony_domain::Event;
use balcony_domain::event::MovieViewed;
use balcony_domain::{MovieId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, comment, favorite, movie, time, user, user_called, view};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn view_by(movie: Uuid, viewer: Uuid) -> Event {
    Event::MovieViewed(MovieViewed { movie_id: MovieId(movie), viewer_id: Some(UserId(viewer)) })
}

/// The titles and views of trends.
fn trends(items: &[Value]) -> Vec<(String, i64)> {
    let of = |item: &Value| (item["movie"]["title"].as_str().unwrap().to_owned(), item["views"].as_i64().unwrap());
    items.iter().map(of).collect()
}

async fn movies(world: &mut World, titles: &[&str]) -> Vec<Uuid> {
    let ids: Vec<Uuid> = titles.iter().map(|_| world.new_id()).collect();
    world.happen(ids.iter().zip(titles).map(|(id, title)| (0, movie(*id, title, None)))).await;
    ids
}

pub(crate) async fn what_is_viewed_most_comes_first_in_each_window(mut world: World) {
    let films = movies(&mut world, &["A", "B", "C", "D"]).await;
    let now = now();
    let mut views = Vec::new();
    // How often and how long ago each was viewed; an hour ago is more than an hour by the minute it is now.
    for (film, times, ago) in [(0, 1, 0), (1, 3, 0), (2, 2, 31 * MINUTE), (0, 4, 2 * HOUR), (3, 9, 25 * HOUR)] {
        views.extend((0..times).map(|_| (now - ago, view(films[film]))));
    }
    // From a clock that runs ahead: it is not now.
    views.push((now + 2 * HOUR, view(films[3])));
    world.happen(views).await;

    let owned = |expected: &[(&str, i64)]| -> Vec<(String, i64)> {
        expected.iter().map(|(title, views)| ((*title).to_owned(), *views)).collect()
    };
    for limit in [1, 2, 100] {
        let walk = async |path| trends(&world.walk(None, path, limit).await);
        assert_eq!(walk("/v1/movies/trending").await, owned(&[("B", 3), ("A", 1)]));
        assert_eq!(walk("/v1/movies/trending?window=30m").await, owned(&[("B", 3), ("A", 1)]));
        assert_eq!(walk("/v1/movies/trending?window=1h").await, owned(&[("B", 3), ("C", 2), ("A", 1)]));
        assert_eq!(walk("/v1/movies/trending?window=24h").await, owned(&[("A", 5), ("B", 3), ("C", 2)]));
    }
    let answer = world.get("/v1/movies/trending?window=1d&colour=red").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.pointers(), ["?window", "?colour"]);
    let first = world.get("/v1/movies/trending?window=1h&limit=1").await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/movies/trending?cursor={cursor}")).await.status, 422, "of another window");
    let tag = first.headers["etag"].to_str().unwrap();
    assert_eq!(world.get_with("/v1/movies/trending?window=1h&limit=1", &[("if-none-match", tag)]).await.status, 304);
}

pub(crate) async fn statistics_are_by_stream_dimension_value_and_window(mut world: World) {
    let films = movies(&mut world, &["A", "B"]).await;
    let author = world.new_id();
    let noon = 1_700_000_000_000 - 1_700_000_000_000 % (24 * HOUR) + 12 * HOUR;
    world.happen([(noon, user(author, "Mia", None))]).await;
    for (at, film) in [(0, 0), (MINUTE, 0), (HOUR, 1), (HOUR, 0), (24 * HOUR, 0)] {
        let id = world.new_id();
        world.happen([(noon + at, comment(id, films[film], author, "x"))]).await;
    }
    // Late, and yet where it belongs.
    let id = world.new_id();
    world.happen([(noon + 1, comment(id, films[0], author, "x"))]).await;

    let item = |at: i64, value: &dyn std::fmt::Display, count: i64| json!({"window_start": time(noon + at).to_string(), "value": value.to_string(), "count": count});
    for limit in [1, 3, 100] {
        let walk = async |path: String| world.walk(None, &path, limit).await;
        let by_film = |at, counts: [i64; 2]| {
            let mut both = vec![item(at, &films[0], counts[0]), item(at, &films[1], counts[1])];
            both.sort_by_key(|item| item["value"].to_string());
            both.reverse();
            both.retain(|item| item["count"] != 0);
            both
        };
        let hours = [by_film(24 * HOUR, [1, 0]), by_film(HOUR, [1, 1]), by_film(0, [3, 0])].concat();
        assert_eq!(walk("/v1/stats/comments".into()).await, hours);
        assert_eq!(walk("/v1/stats/comments?dimension=movie&window=1h".into()).await, hours);
        let first = films[0];
        let minutes = [item(24 * HOUR, &first, 1), item(HOUR, &first, 1), item(MINUTE, &first, 1), item(0, &first, 2)];
        assert_eq!(walk(format!("/v1/stats/comments?window=1m&value={first}")).await, minutes);
        assert_eq!(walk(format!("/v1/stats/comments?window=1m&value={}", first.simple())).await, minutes);
        let (since, until) = (time(noon + MINUTE), time(noon + 24 * HOUR));
        let path = format!("/v1/stats/comments?window=1m&value={first}&since={since}&until={until}");
        assert_eq!(walk(path).await, minutes[1..3]);
        let days = [item(12 * HOUR, &author, 1), item(-12 * HOUR, &author, 5)];
        assert_eq!(walk("/v1/stats/comments?dimension=author&window=1d".into()).await, days);
        let types = walk("/v1/stats/events?window=1d&value=balcony.comment.posted.v1".into()).await;
        assert_eq!(types.iter().map(|item| &item["count"]).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(walk("/v1/stats/views?value=nothing".into()).await, [json!(null); 0]);
    }

    for path in ["/v1/stats/people", "/v1/stats/people?dimension=x", "/v1/stats/%00"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (404, &"application/problem+json".parse().unwrap())
        );
    }
    let answer = world.get("/v1/stats/views?dimension=author&window=2h&since=x&until=y&limit=0&colour=red").await;
    let expected = ["?dimension", "?window", "?since", "?until", "?limit", "?colour"];
    assert_eq!(answer.status, 422);
    assert_eq!(answer.pointers(), expected);
    let first = world.get("/v1/stats/comments?limit=1").await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    for other in ["comments?dimension=author&", "comments?window=1m&", "events?"] {
        assert_eq!(world.get(&format!("/v1/stats/{other}cursor={cursor}")).await.status, 422, "{other}");
    }
}

pub(crate) async fn recommendations_have_their_reasons(mut world: World) {
    let films = movies(&mut world, &["Both", "Favourites", "Trending", "Commented", "Viewed", "Old"]).await;
    let (me, mia, jo) = (user_called("me"), world.new_id(), world.new_id());
    let now = now();
    world.happen([(0, user(mia, "Mia", None)), (0, user(jo, "Jo", None)), (0, user(me, "Me", None))]).await;
    world.happen([(1, favorite(me, mia)), (1, favorite(me, jo))]).await;
    let mut events = Vec::new();
    for (author, film, ago) in
        [(mia, 0, 0), (mia, 1, HOUR), (jo, 1, 0), (mia, 3, 0), (mia, 4, 0), (mia, 5, 40 * 24 * HOUR), (me, 3, 0)]
    {
        events.push((now - ago, comment(world.new_id(), films[film], author, "x")));
    }
    for (film, times) in [(0, 1), (2, 5), (3, 9)] {
        events.extend((0..times).map(|_| (now, view(films[film]))));
    }
    events.push((now - 3 * 24 * HOUR, view_by(films[4], me)));
    world.happen(events).await;

    let expected = [
        (
            "Both",
            "Mia, a favourite of yours, commented on it lately, and it is trending: viewed once in the last 24 hours",
        ),
        ("Favourites", "Jo and Mia, favourites of yours, commented on it lately"),
        ("Trending", "Trending: viewed 5 times in the last 24 hours"),
    ];
    let shown = |items: &[Value]| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        items.iter().map(|item| (text(&item["movie"]["title"]), text(&item["reason"]))).collect()
    };
    let owned = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(title, reason)| ((*title).to_owned(), (*reason).to_owned())).collect()
    };
    for limit in [1, 2, 100] {
        assert_eq!(shown(&world.walk(Some("me"), "/v1/recommendations", limit).await), owned(&expected));
        let in_general = [
            ("Commented", "Trending: viewed 9 times in the last 24 hours"),
            ("Trending", "Trending: viewed 5 times in the last 24 hours"),
            ("Both", "Trending: viewed once in the last 24 hours"),
        ];
        assert_eq!(shown(&world.walk(None, "/v1/recommendations", limit).await), owned(&in_general));
    }
}

pub(crate) async fn views_are_in_ones_own_journey_alone(mut world: World) {
    let films = movies(&mut world, &["A"]).await;
    let (me, other) = (user_called("me"), user_called("other"));
    let path = format!("/v1/users/{me}/journey");
    world.happen([(1, view_by(films[0], me)), (2, view_by(films[0], other)), (3, view(films[0]))]).await;
    let viewed = json!({"type": "movie.viewed", "at": time(1).to_string(), "movie": {"id": films[0], "title": "A"}});
    // Before the first command, too.
    assert_eq!(world.walk(Some("me"), &path, 1).await, [viewed]);
    assert_eq!(world.get_as("other", &path).await.status, 404);

    let id = world.new_id();
    world.happen([(0, user(me, "Me", None)), (2, comment(id, films[0], me, "x")), (4, view_by(films[0], me))]).await;
    for limit in [1, 2, 100] {
        let types = |items: &[Value]| -> Vec<String> {
            items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
        };
        let own = ["movie.viewed", "comment.posted", "movie.viewed", "profile.changed"];
        assert_eq!(types(&world.walk(Some("me"), &path, limit).await), own);
        assert_eq!(types(&world.walk(Some("other"), &path, limit).await), ["comment.posted", "profile.changed"]);
        assert_eq!(types(&world.walk(None, &path, limit).await), ["comment.posted", "profile.changed"]);
    }
    assert!(world.get(&path).await.headers.contains_key("etag"));
    assert!(!world.get_as("me", &path).await.headers.contains_key("etag"));
}
