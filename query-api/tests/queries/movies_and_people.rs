use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, comment, company, deletion, favorite, ids, movie, user, user_called, view};

pub(crate) async fn movies_have_counts_and_come_newest_first(mut world: World) {
    let (studio, author) = (world.new_id(), world.new_id());
    let mut films: Vec<Uuid> = (0..7).map(|_| world.new_id()).collect();
    // Registered at the same time, so their ids say which comes first.
    films.sort_unstable();
    let registered: Vec<_> =
        films.iter().enumerate().map(|(number, id)| (number as i64 / 3, movie(*id, "M", Some(studio)))).collect();
    world.happen([(0, company(studio, "Omori")), (0, user(author, "Mia", None))]).await;
    world.happen(registered).await;
    let comments: Vec<Uuid> = (0..5).map(|_| world.new_id()).collect();
    let posts: Vec<_> = comments.iter().map(|id| (9, comment(*id, films[0], author, "x"))).collect();
    world.happen(posts).await;
    world.happen([(10, deletion(comments[0])), (10, view(films[0])), (10, view(films[0])), (10, view(films[1]))]).await;

    let expected: Vec<Uuid> = films.iter().rev().copied().collect();
    assert_eq!(ids(&world.walk(None, "/v1/movies", 2).await), expected);
    let answer = world.get(&format!("/v1/movies/{}", films[0])).await;
    let expected = json!({
        "id": films[0], "title": "M", "company": {"id": studio, "name": "Omori"}, "released_on": null,
        "registered_at": "1970-01-01T00:00:00.000Z", "comment_count": 4, "view_count": 2,
    });
    assert_eq!((answer.status, &answer.body), (200, &expected));
    assert_eq!(world.get("/v1/movies?limit=100").await.body["items"][6], expected);
}

pub(crate) async fn the_contact_address_is_not_public(mut world: World) {
    let studio = world.new_id();
    world.happen([(0, company(studio, "Omori"))]).await;
    let answer = world.get(&format!("/v1/companies/{studio}")).await;
    let expected = json!({"id": studio, "name": "Omori", "registered_at": "1970-01-01T00:00:00.000Z"});
    assert_eq!((answer.status, answer.body), (200, expected));
}

pub(crate) async fn what_is_unknown_is_not_found(world: World) {
    for id in ["0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e", "1", "%00"] {
        for kind in ["movies", "companies", "users"] {
            for path in [format!("/v1/{kind}/{id}"), format!("/v1/{kind}/{id}/comments")] {
                let answer = world.get(&path).await;
                assert_eq!(answer.status, 404, "{path}");
                assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
            }
        }
    }
}

pub(crate) async fn favorites_come_by_name(mut world: World) {
    let names = ["b", "B", "é", "e", "\u{ff5a}", "😀", "b"];
    let users: Vec<(Vec<char>, Uuid)> = names.iter().map(|name| (name.chars().collect(), world.new_id())).collect();
    let me = user_called("mia");
    let profiles: Vec<_> = users.iter().zip(names).map(|((_, id), name)| (0, user(*id, name, None))).collect();
    let favorites: Vec<_> = users.iter().map(|(_, id)| (1, favorite(me, *id))).collect();
    world.happen(profiles).await;
    world.happen(favorites).await;

    let mut expected = users.clone();
    expected.sort();
    let expected: Vec<Uuid> = expected.into_iter().map(|(_, id)| id).collect();
    for limit in [1, 3, 100] {
        assert_eq!(ids(&world.walk(Some("mia"), "/v1/me/favorites", limit).await), expected);
    }
    let first = world.get_as("mia", "/v1/me/favorites?limit=1").await;
    assert_eq!(first.body["items"], json!([{"id": expected[0], "display_name": "B"}]));
    assert!(!first.headers.contains_key("etag"));

    let cursor = first.body["next_cursor"].as_str().unwrap();
    let answer = world.get_as("bo", &format!("/v1/me/favorites?cursor={cursor}")).await;
    assert_eq!((answer.status, answer.pointers()), (422, vec!["?cursor".to_owned()]), "a cursor belongs to one user");
}

pub(crate) async fn oneself_is_known_from_the_token_at_first(mut world: World) {
    let me = user_called("mia");
    let answer = world.get_as("mia", "/v1/me").await;
    let expected = json!({
        "id": me, "display_name": "mia", "about": null, "location": null, "registered_at": null, "role": "user",
    });
    assert_eq!((answer.status, answer.body), (200, expected));
    assert_eq!(world.get(&format!("/v1/users/{me}")).await.status, 404);

    world.happen([(5, user(me, "Mia", Some("Oslo")))]).await;
    let mut expected = json!({
        "id": me, "display_name": "Mia", "about": null, "location": "Oslo",
        "registered_at": "1970-01-01T00:00:00.005Z",
    });
    assert_eq!(world.get(&format!("/v1/users/{me}")).await.body, expected);
    expected["role"] = "user".into();
    assert_eq!(world.get_as("mia", "/v1/me").await.body, expected);
}

pub(crate) async fn a_list_is_not_sent_again_to_who_has_it(mut world: World) {
    let (film, studio, author) = (world.new_id(), world.new_id(), world.new_id());
    world
        .happen([(0, company(studio, "A")), (0, movie(film, "M", Some(studio))), (0, user(author, "Mia", None))])
        .await;
    let mut tags = BTreeSet::new();
    for path in [
        "/v1/comments".to_owned(),
        "/v1/movies".to_owned(),
        format!("/v1/movies/{film}/comments"),
        format!("/v1/companies/{studio}/comments"),
        format!("/v1/users/{author}/comments"),
    ] {
        let answer = world.get(&path).await;
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        tags.insert(tag.clone());
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = world.get_with(&path, &[("if-none-match", &known)]).await;
            assert_eq!((again.status, again.body), (304, Value::Null), "{path} {known}");
            assert_eq!(again.headers["etag"], tag.as_str());
        }
        assert_eq!(world.get_with(&path, &[("if-none-match", "\"x\"")]).await.status, 200);
    }
    let id = world.new_id();
    world.happen([(1, comment(id, film, author, "x"))]).await;
    let tag = tags.first().unwrap().as_str();
    assert_eq!(world.get_with("/v1/comments", &[("if-none-match", tag)]).await.status, 200);
}

pub(crate) async fn every_operation_is_described(world: World) {
    let answer = world.get("/openapi.json").await;
    let paths = answer.body["paths"].as_object().unwrap();
    let operations: Vec<&Value> = paths.values().map(|path| &path["get"]).collect();
    assert!(operations.len() >= 12);
    let names: BTreeSet<&str> = operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
    for operation in operations {
        let names: Vec<&str> = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        for name in ["wait", "stale", "Consistency-Token"] {
            assert!(names.contains(&name), "{operation}");
        }
    }
}
