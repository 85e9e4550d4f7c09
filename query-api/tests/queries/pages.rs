//! Pages that are hot, beside the same without them.

use std::time::Duration;

use axum::Router;
use balcony_domain::Event;
use balcony_event_log::testing::eventually;
use balcony_read_models::Comments;
use serde_json::Value;
use uuid::Uuid;

use crate::world::{
    Dice, EVERYTHING, Model, PARTITIONS, World, ask, bearer, comment, deletion, favorite, movie, token, unfavorite,
    user, user_called,
};

const PATIENCE: Duration = Duration::from_secs(30);
const BYTES: usize = 1 << 20;

/// Both answers to a question.
async fn both(world: &World, hot: &Router, path: &str, headers: &[(&str, &str)]) -> [(u16, String, String); 2] {
    let shown = |answer: crate::world::Answer| {
        let tag = answer.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
        (answer.status, tag, answer.body.to_string())
    };
    [shown(ask(hot, path, headers).await), shown(world.get_with(path, headers).await)]
}

/// Changes every text without an event, as nobody but a test does.
async fn tamper(world: &mut World) {
    let text = format!("text {}", world.new_id());
    world.tamper(Comments::NAME, "UPDATE comments SET body = $1", &[text.as_str().into()]).await;
}

/// Waits until pages come from memory, so that the node has read the log as far as the read models have come.
async fn until_pages_are_kept(world: &mut World, hot: &Router, path: &str, headers: &[(&str, &str)]) {
    let mut attempts = 0;
    // Not the page that is looked at afterwards.
    eventually("a page comes from memory", PATIENCE, async || {
        attempts += 1;
        let path = format!("{path}?limit={}", attempts % 80 + 5);
        let before = ask(hot, &path, headers).await.body;
        tamper(world).await;
        (ask(hot, &path, headers).await.body == before).then_some(())
    })
    .await;
}

/// Whatever changes a page takes it from memory.
pub(crate) async fn a_page_that_is_hot_is_given_until_what_it_shows_changes(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for _ in 0..40 {
        model.post(&mut world, &mut dice, 500);
    }
    let me = user_called("mia");
    let (followed, other) = (model.users[0].0, model.users[1].0);
    let (of_company, of_none) = (model.movies[1].0, model.movies[0].0);
    let company = model.movies[1].1.unwrap();
    world.happen([(500, user(me, "Mia", None)), (500, favorite(me, followed))]).await;
    let first = world.new_id();
    world.happen([(600, comment(first, of_company, followed, "first"))]).await;

    let hot = world.with_pages(BYTES).await;
    let mia = [("authorization", bearer("mia"))];
    let mia: Vec<(&str, &str)> = mia.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let one = format!("/v1/comments/{first}");
    let of_movie = format!("/v1/movies/{of_company}/comments");
    let of_author = format!("/v1/users/{followed}/comments");
    let filtered = format!("/v1/comments?author={followed}&sort=oldest");
    let of_companies = format!("/v1/companies/{company}/comments");
    let pages: [(&str, &[(&str, &str)]); 7] = [
        ("/v1/comments", &[]),
        (&one, &[]),
        (&of_movie, &[]),
        (&of_author, &[]),
        (&filtered, &[]),
        (&of_companies, &[]),
        ("/v1/me/timeline", &mia),
    ];
    let mut id = || world.new_id();
    let (second, third, new_movie) = (id(), id(), id());
    let changes: Vec<Event> = vec![
        comment(second, of_company, followed, "second"),
        movie(of_company, "Another title", Some(company)),
        user(followed, "Another name", None),
        deletion(second),
        unfavorite(me, followed),
        favorite(me, other),
        comment(third, of_none, other, "third"),
        movie(of_none, "A movie of the company now", Some(company)),
        movie(new_movie, "New", Some(company)),
        user(me, "Mia M.", None),
        deletion(first),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        until_pages_are_kept(&mut world, &hot, "/v1/comments", &[]).await;
        for (path, headers) in pages {
            ask(&hot, path, headers).await;
        }
        tamper(&mut world).await;
        let mut from_memory = 0;
        for (path, headers) in pages {
            let [hot, cold] = both(&world, &hot, path, headers).await;
            from_memory += usize::from(hot != cold);
        }
        assert!(from_memory >= pages.len() - 1, "only {from_memory} pages came from memory before change {number}");

        let shows = |text: &Event| format!("{text:?}");
        let changed = shows(&change);
        world.happen([(700 + number as i64, change)]).await;
        until_pages_are_kept(&mut world, &hot, "/v1/comments", &[]).await;
        for (path, headers) in pages {
            let [hot, cold] = both(&world, &hot, path, headers).await;
            // A page that the change did not concern may still be from before the texts were tampered with.
            let is_untouched = hot.0 == cold.0 && without_texts(&hot.2) == without_texts(&cold.2);
            assert!(hot == cold || is_untouched, "{path} after {changed}: {hot:?} instead of {cold:?}");
        }
    }
}

/// The answer with every text left out.
fn without_texts(body: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    match body.get_mut("items").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(|item| item["body"] = Value::Null),
        None => body["body"] = Value::Null,
    }
    body
}

/// Whatever is posted, deleted, renamed and followed, and however far each read model and the node have come, both answer
/// alike.
pub(crate) async fn pages_are_the_same_with_memory_and_without(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    let hot = world.with_pages(BYTES).await;
    let me = user_called("mia");
    let mia = bearer("mia");
    let mut last = None;
    for step in 0..400 {
        match dice.roll(0..10) {
            0 | 1 => model.post(&mut world, &mut dice, 500),
            2 => model.delete(&mut world, &mut dice),
            3 => {
                let (id, ..) = dice.pick(&model.users);
                last = Some(world.append(500, user(id, &format!("name {step}"), None)));
            }
            4 => {
                let (id, company) = dice.pick(&model.movies);
                last = Some(world.append(500, movie(id, &format!("title {step}"), company)));
            }
            5 => {
                let (id, ..) = dice.pick(&model.users);
                let stands = dice.roll(0..2) == 0;
                world.append(500, if stands { favorite(me, id) } else { unfavorite(me, id) });
            }
            // A comment by somebody who is registered later, or on such a movie.
            6 => {
                let (id, author) = (world.new_id(), world.new_id());
                let on = dice.pick(&model.movies).0;
                world.append(500, comment(id, on, author, "early"));
                world.append(501, user(author, "late", None));
            }
            _ => {
                let name = dice.pick(EVERYTHING);
                let (most, partition) = (dice.roll(1..8_usize), dice.roll(0..=PARTITIONS as i32));
                world.read(name, most, |number| partition == PARTITIONS as i32 || number == partition).await;
            }
        }
        if step % 20 == 19 {
            world.catch_up(EVERYTHING).await;
        }
        for _ in 0..6 {
            let (on, company) = dice.pick(&model.movies);
            let by = dice.pick(&model.users).0;
            let limit = dice.pick(&[1, 3, 20]);
            let path = match dice.roll(0..6) {
                0 => "/v1/comments?".to_owned(),
                1 => format!("/v1/movies/{on}/comments?"),
                2 => format!("/v1/users/{by}/comments?"),
                3 => format!("/v1/comments?movie={on}&sort=oldest&"),
                4 => format!("/v1/companies/{}/comments?", company.unwrap_or(on)),
                _ => "/v1/me/timeline?".to_owned(),
            };
            let token = last.clone().filter(|_| dice.roll(0..4) == 0).map(token);
            let mut headers = vec![("authorization", mia.as_str())];
            headers.extend(token.as_ref().map(|token| ("consistency-token", token.as_str())));
            let path = format!("{path}limit={limit}&wait=0ms");
            let [hot, cold] = both(&world, &hot, &path, &headers).await;
            // What nothing has changed since is true for a token that the read models have not come to.
            let is_sooner = hot.0 == 200 && cold.0 == 503 && token.is_some();
            assert!(hot == cold || is_sooner, "{path} at step {step}: {hot:?} instead of {cold:?}");
        }
    }
}

/// Who has the page already gets no body, from memory as from the database; and pages of one reader are not another's.
pub(crate) async fn who_has_a_page_that_is_hot_gets_no_body(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    (0..9).for_each(|_| model.post(&mut world, &mut dice, 500));
    let followed = model.users[0].0;
    let written = world.new_id();
    world.happen([(500, favorite(user_called("mia"), followed))]).await;
    world.happen([(600, comment(written, model.movies[0].0, followed, "first"))]).await;
    let hot = world.with_pages(BYTES).await;
    until_pages_are_kept(&mut world, &hot, "/v1/comments", &[]).await;
    let first = ask(&hot, "/v1/comments", &[]).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    tamper(&mut world).await;
    let again = ask(&hot, "/v1/comments", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body), (304, Value::Null));
    assert_eq!(again.headers["etag"].to_str().unwrap(), tag);
    assert_eq!(again.headers["cache-control"], first.headers["cache-control"]);
    assert_eq!(ask(&hot, "/v1/comments", &[]).await.body, first.body);

    let of = async |name: &str| {
        let token = bearer(name);
        ask(&hot, "/v1/me/timeline", &[("authorization", &token)]).await.body["items"].as_array().unwrap().len()
    };
    for _ in 0..3 {
        assert!(of("mia").await >= 1);
        assert_eq!(of("noah").await, 0);
    }
    assert_eq!(ask(&hot, "/v1/me/timeline", &[]).await.status, 401);
    let forged = ask(&hot, "/v1/comments", &[("consistency-token", "forged")]).await;
    assert_eq!(forged.status, 422);
}

/// What an operator does about a parked record changes rows without an event: while anything is parked nothing is kept.
pub(crate) async fn while_a_record_is_parked_no_page_is_kept(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    (0..9).for_each(|_| model.post(&mut world, &mut dice, 500));
    world.catch_up(EVERYTHING).await;
    let hot = world.with_pages(BYTES).await;
    until_pages_are_kept(&mut world, &hot, "/v1/comments", &[]).await;
    let parked =
        "INSERT INTO parked (id, topic, partition, record_offset, record_key, headers, payload, error, parked_at)
                  VALUES ($1, 'balcony.events', 0, 1000, $2, '[]', $2, 'for a test', 0)";
    let nothing: &[u8] = &[];
    world.tamper(Comments::NAME, parked, &[Uuid::nil().into(), nothing.into()]).await;
    // Nobody has told of it: it is looked for every second.
    let mut is_kept = async || {
        let before = ask(&hot, "/v1/comments", &[]).await.body;
        tamper(&mut world).await;
        ask(&hot, "/v1/comments", &[]).await.body == before
    };
    eventually("no page is kept", PATIENCE, async || (!is_kept().await).then_some(())).await;
    for _ in 0..5 {
        assert!(!is_kept().await);
    }
    world.tamper(Comments::NAME, "DELETE FROM parked", &[]).await;
    until_pages_are_kept(&mut world, &hot, "/v1/comments", &[]).await;
}
