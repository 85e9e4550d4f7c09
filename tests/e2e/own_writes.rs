//! Reading what one has just written, through any instance.

use reqwest::{Method, StatusCode};
use serde_json::json;

use balcony_event_log::TopicPartition;
use balcony_http::{Consistency, ConsistencyToken};

use crate::deployment::{Deployment, Kind, authority};

pub async fn who_sends_the_token_reads_its_own_writes(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let mut mia = deployment.user("Mia").having_seen(&movie);
    for number in 0..50 {
        let posted = mia.comment(&movie.id(), &format!("comment {number}")).await;
        mia = mia.having_seen(&posted);
        let newest = mia.get(&format!("/v1/movies/{}/comments?limit=1", movie.id())).await.expect(StatusCode::OK);
        assert_eq!(newest.items("id"), [posted.id()]);
        let count = mia.get(&format!("/v1/movies/{}", movie.id())).await.expect(StatusCode::OK).json();
        assert_eq!(count["comment_count"], number + 1);
    }
    let renamed =
        mia.command(Method::PUT, "/v1/me", Some(&json!({"display_name": "Mia II", "location": "Oslo"}))).await;
    let mia = mia.having_seen(&renamed.expect(StatusCode::NO_CONTENT));
    assert_eq!(mia.get("/v1/me").await.json()["display_name"], "Mia II");
    assert_eq!(mia.get("/v1/comments?limit=1").await.json()["items"][0]["author"]["display_name"], "Mia II");
}

pub async fn a_comment_can_be_deleted_the_instant_after_it_was_posted(mut deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia");
    // Through another instance where there can be one.
    let elsewhere = match deployment.kind {
        Kind::Embedded { .. } => mia.clone(),
        Kind::Distributed { .. } => {
            let second = deployment.start("second command-api", &["command-api"]).await;
            mia.clone().talking_to(&deployment.processes[second].url, &mia.queries)
        }
    };
    for _ in 0..20 {
        let posted = mia.comment(&movie, "soon gone").await;
        let deleted = elsewhere.delete(&posted.header("location")).await.expect(StatusCode::NO_CONTENT);
        elsewhere.clone().having_seen(&deleted).get(&posted.header("location")).await.problem(410);
    }
}

pub async fn tokens_that_are_not_ours_are_refused(deployment: Deployment) {
    let other = Deployment::embedded().await;
    let foreign = other.admin().register_movie("Elsewhere").await;
    let mia = deployment.user("Mia");
    mia.clone().having_seen(&foreign).get("/v1/comments").await.problem(422);
    for token in ["x", "AAAA", "%%%"] {
        let answer = mia.clone().with_header("consistency-token", token).get("/v1/comments").await;
        assert_eq!(answer.problem(422), ["Consistency-Token:"]);
        let comment = json!({"body": "x"});
        let refused = mia.clone().with_header("consistency-token", token);
        refused.post(&format!("/v1/movies/{}/comments", foreign.id()), &comment).await.problem(422);
    }
    for wait in ["11s", "5", "-1s", "x"] {
        assert_eq!(mia.get(&format!("/v1/comments?wait={wait}")).await.problem(422), ["?wait"]);
    }
    for wait in ["0s", "500ms", "10s"] {
        mia.get(&format!("/v1/comments?wait={wait}")).await.expect(StatusCode::OK);
    }
}

pub async fn a_first_command_registers_its_user(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia");
    let before = mia.get("/v1/me").await.expect(StatusCode::OK).json();
    assert_eq!(before["display_name"], "Mia");
    let id = before["id"].as_str().unwrap();
    mia.get(&format!("/v1/users/{id}")).await.problem(404);

    let posted = mia.comment(&movie, "hello").await;
    let user = mia.having_seen(&posted).get(&format!("/v1/users/{id}")).await.expect(StatusCode::OK).json();
    assert_eq!(user["display_name"], "Mia");
}

pub async fn a_token_from_beyond_the_log_is_refused(deployment: Deployment) {
    let topics = deployment.topics();
    let log = deployment.log_beside().await.unwrap();
    let key = authority().key_for("consistency token").unwrap();
    let consistency = Consistency::new(&log.identity().await.unwrap(), vec![topics.facts.clone(), topics.views], &key);
    let token = |offset| {
        let positions = [(TopicPartition::new(topics.facts.clone(), 0), offset)].into_iter().collect();
        consistency.header(&ConsistencyToken(positions)).1.to_str().unwrap().to_owned()
    };
    let nobody = deployment.nobody();
    nobody.clone().with_header("consistency-token", &token(0)).get("/v1/comments").await.expect(StatusCode::OK);
    for query in ["", "?wait=0s", "?stale=allow"] {
        let reader = nobody.clone().with_header("consistency-token", &token(1 << 62));
        assert_eq!(reader.get(&format!("/v1/comments{query}")).await.problem(422), ["Consistency-Token:"]);
    }
}
