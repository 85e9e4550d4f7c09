use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_event_log::{Positions, TopicPartition};
use balcony_http::ConsistencyToken;

use crate::world::{
    Answer, EVERYTHING, World, ask, ask_from, bearer, comment, consistency_of, movie, token, user, view,
};

/// A world with a movie, and a comment that only the registry has read, with the token for it.
async fn behind(world: &mut World) -> (uuid::Uuid, String) {
    let (film, author, id) = (world.new_id(), world.new_id(), world.new_id());
    world.happen([(0, movie(film, "M", None)), (0, user(author, "Mia", None))]).await;
    let written = world.append(1, comment(id, film, author, "x"));
    world.catch_up(&["registry"]).await;
    (id, token(written))
}

pub(crate) async fn a_query_waits_for_the_token(mut world: World) {
    let (id, token) = behind(&mut world).await;
    let router = world.router.clone();
    let headers = [("consistency-token", token.as_str())];
    // The query is asked first: at its first look the comment cannot be there.
    let (answer, ()) =
        tokio::join!(biased; ask(&router, "/v1/comments?wait=10s", &headers), world.catch_up(EVERYTHING));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["items"][0]["id"], id.to_string());
    assert!(!answer.headers.contains_key("consistency"));
}

pub(crate) async fn behind_the_token_it_is_503_or_marked_as_stale(mut world: World) {
    let (id, token) = behind(&mut world).await;
    let headers = [("consistency-token", token.as_str())];
    for path in ["/v1/comments?wait=0s".to_owned(), format!("/v1/comments/{id}?wait=100ms")] {
        let answer = world.get_with(&path, &headers).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.body["type"], "urn:balcony:problem:projection-behind");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let answer = world.get_with("/v1/comments?stale=allow", &headers).await;
    assert_eq!((answer.status, &answer.headers["consistency"]), (200, &"stale".parse().unwrap()));
    assert_eq!(answer.body["items"].as_array().unwrap().len(), 0);
    let answer = world.get_with(&format!("/v1/comments/{id}?stale=allow"), &headers).await;
    assert_eq!((answer.status, &answer.headers["consistency"]), (404, &"stale".parse().unwrap()));

    world.catch_up(EVERYTHING).await;
    let answer = world.get_with("/v1/comments?stale=allow&wait=1s", &headers).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("consistency"));
}

pub(crate) async fn a_thousand_may_wait_and_one_more_is_told_so(mut world: World) {
    const MOST: usize = 2_048;
    const MORE: usize = 100;
    // Those at one address may be half of them, and one more is told so, too.
    const OF_ONE: usize = MOST / 2;
    let is_told_so = |answer: &Answer| {
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        match answer.status {
            503 => detail.starts_with("too many"),
            429 => detail.starts_with("an address may have 1024 queries") && answer.headers.contains_key("retry-after"),
            _ => false,
        }
    };
    let (_, token) = behind(&mut world).await;
    let waits = |from: [u8; 4]| {
        let (router, token) = (world.router.clone(), token.clone());
        let headers =
            async move { ask_from(from, &router, "/v1/comments?wait=10s", &[("consistency-token", &token)]).await };
        tokio::spawn(headers)
    };
    let mut waiting: Vec<_> = (0..OF_ONE + MORE).map(|_| waits([192, 0, 2, 1])).collect();
    eventually("those who are too many at one address are told so", Duration::from_secs(8), async || {
        (waiting.iter().filter(|waiting| waiting.is_finished()).count() == MORE).then_some(())
    })
    .await;
    waiting.extend((0..OF_ONE).map(|_| waits([192, 0, 2, 2])));
    waiting.extend((0..MORE).map(|_| waits([192, 0, 2, 3])));
    let headers = [("consistency-token", token.as_str())];
    eventually("those for whom there is no room are told so", Duration::from_secs(8), async || {
        (waiting.iter().filter(|waiting| waiting.is_finished()).count() == 2 * MORE).then_some(())
    })
    .await;
    // Whoever waits for nothing is answered.
    assert_eq!(world.get("/v1/comments").await.status, 200);

    world.catch_up(EVERYTHING).await;
    let mut answered = 0;
    for waited in waiting {
        let answer = waited.await.unwrap();
        assert!(answer.status == 200 || is_told_so(&answer), "{}: {}", answer.status, answer.body);
        answered += usize::from(answer.status == 200);
    }
    assert_eq!(answered, MOST);
    assert_eq!(world.get_with("/v1/comments", &headers).await.status, 200);
}

pub(crate) async fn only_what_a_query_reads_is_waited_for(mut world: World) {
    let (_, facts) = behind(&mut world).await;
    let film = world.new_id();
    let views = token(world.append(2, view(film)));
    let me = bearer("mia");
    for (path, facts_status, views_status) in [
        ("/v1/comments", 503, 200),
        ("/v1/movies", 503, 503),
        ("/v1/me", 200, 200),
        ("/v1/me/favorites", 503, 200),
        ("/v1/me/timeline", 503, 200),
    ] {
        let path = format!("{path}?wait=0s");
        for (token, status) in [(&facts, facts_status), (&views, views_status)] {
            let headers = [("consistency-token", token.as_str()), ("authorization", me.as_str())];
            assert_eq!(world.get_with(&path, &headers).await.status, status, "{path}");
        }
    }
}

pub(crate) async fn a_token_that_is_none_is_refused(world: World) {
    let mut positions = Positions::new();
    positions.set(TopicPartition::new("balcony.events", 0), 1);
    let (_, other) = consistency_of("another").header(&ConsistencyToken(positions));
    for token in ["x", other.to_str().unwrap()] {
        for path in ["/v1/comments", "/v1/movies", "/v1/users/x?", "/v1/comments?stale=allow"] {
            let answer = world.get_with(path, &[("consistency-token", token)]).await;
            let status = if path.contains("users") { 404 } else { 422 };
            assert_eq!(answer.status, status, "{path}");
        }
    }
}

pub(crate) async fn who_asks_is_checked_everywhere(world: World) {
    for path in ["/v1/me", "/v1/me/favorites", "/v1/me/timeline"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    for path in ["/v1/comments", "/v1/movies", "/v1/me"] {
        assert_eq!(world.get_with(path, &[("authorization", "Bearer x")]).await.status, 401, "{path}");
        assert_eq!(world.get_as("mia", path).await.status, 200, "{path}");
    }
}
