//! Favourites, their timeline, page views and journeys.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::client::Client;
use crate::deployment::Deployment;

async fn id(client: &Client) -> String {
    client.get("/v1/me").await.expect(StatusCode::OK).id()
}

pub async fn favourites_and_their_timeline(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut reader = deployment.user("Reader");
    let authors: Vec<Client> = ["Zoë", "Mia", "mia", "Åse"].iter().map(|name| deployment.user(name)).collect();
    let mut posted = Vec::new();
    for round in 0..3 {
        for author in &authors {
            let answer = author.comment(&movie, &format!("round {round}")).await;
            reader = reader.having_seen(&answer);
            posted.push(answer);
        }
    }
    for author in &authors {
        for _ in 0..2 {
            let answer = reader.put(&format!("/v1/me/favorites/{}", id(author).await)).await;
            reader = reader.having_seen(&answer.expect(StatusCode::NO_CONTENT));
        }
    }
    reader.put(&format!("/v1/me/favorites/{}", id(&reader).await)).await.problem(422);
    // By code point.
    assert_eq!(reader.get("/v1/me/favorites").await.items("display_name"), ["Mia", "Zoë", "mia", "Åse"]);

    // A comment on what is in the reader's token alone: it covers the last post and the last favourite.
    for answer in &posted {
        reader.clone().having_seen(answer).get("/v1/me/timeline").await.expect(StatusCode::OK);
    }
    let newest_first: Vec<_> = posted.iter().rev().map(|answer| answer.id()).collect();
    let mut found = Vec::new();
    let mut page = "/v1/me/timeline?limit=5".to_owned();
    loop {
        let list = reader.get(&page).await.expect(StatusCode::OK);
        found.extend(list.items("id"));
        let Some(cursor) = list.json()["next_cursor"].as_str().map(str::to_owned) else { break };
        page = format!("/v1/me/timeline?limit=5&cursor={cursor}");
    }
    assert_eq!(found, newest_first);

    let answer = reader.delete(&format!("/v1/me/favorites/{}", id(&authors[0]).await)).await;
    reader = reader.having_seen(&answer.expect(StatusCode::NO_CONTENT));
    assert_eq!(reader.get("/v1/me/favorites").await.items("display_name"), ["Mia", "mia", "Åse"]);
    assert_eq!(reader.get("/v1/me/timeline?limit=100").await.items("id").len(), 9);
    deployment.nobody().get("/v1/me/timeline").await.problem(401);
}

pub async fn views_are_counted(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut nobody = deployment.nobody();
    let path = format!("/v1/movies/{movie}/views");
    assert_eq!(nobody.post(&path, &json!({"times": 3})).await.problem(422), ["#/times"]);
    for body in [None, None, Some(json!({})), None, Some(json!({}))] {
        // A key is for what has one, and nothing to be said is nothing, or an object without fields.
        let key = nobody.clone().with_key("no key");
        let viewed = key.command(Method::POST, &path, body.as_ref()).await;
        nobody = nobody.having_seen(&viewed.expect(StatusCode::ACCEPTED));
    }
    let shown = nobody.get(&format!("/v1/movies/{movie}")).await.expect(StatusCode::OK).json();
    assert_eq!(shown["view_count"], 5);
    assert_eq!(shown["comment_count"], 0);
    assert_eq!(nobody.get("/v1/movies").await.expect(StatusCode::OK).json()["items"][0]["view_count"], 5);
}

pub async fn a_journey_is_what_one_did(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia");
    let jonas = deployment.user("Jonas");
    let by_jonas = jonas.comment(&movie, "hello").await;
    let posted = mia.clone().having_seen(&by_jonas).comment(&movie, "hello, too").await;
    let mia = mia.having_seen(&posted);
    let favorite = format!("/v1/me/favorites/{}", id(&jonas.having_seen(&by_jonas)).await);
    // What changes nothing is no step.
    let mut mia = mia.clone().having_seen(&mia.delete(&favorite).await.expect(StatusCode::NO_CONTENT));
    for _ in 0..2 {
        mia = mia.clone().having_seen(&mia.put(&favorite).await.expect(StatusCode::NO_CONTENT));
    }
    let comment = posted.header("location");
    let deletions =
        tokio::join!(mia.delete(&comment), mia.delete(&comment), mia.delete(&comment), mia.delete(&comment));
    let mut mia = mia.clone();
    for deleted in [deletions.0, deletions.1, deletions.2, deletions.3] {
        mia = mia.having_seen(&deleted.expect(StatusCode::NO_CONTENT));
    }

    let path = format!("/v1/users/{}/journey", id(&mia).await);
    let journey = mia.get(&path).await.expect(StatusCode::OK);
    assert_eq!(journey.items("type"), ["comment.deleted", "user.favorited", "comment.posted", "registered"]);
    let steps = &journey.json()["items"];
    assert_eq!(steps[0]["comment_id"], posted.id());
    assert_eq!(steps[1]["user"]["display_name"], "Jonas");
    assert_eq!(steps[2]["movie"]["title"], "A movie");
    assert!(steps.as_array().unwrap().iter().all(|step| step["at"].as_str().unwrap().ends_with('Z')));
    mia.get(&format!("/v1/users/{movie}/journey")).await.problem(404);
}
