//! The first minutes with Balcony.

use reqwest::StatusCode;
use serde_json::json;

use crate::deployment::{Deployment, Kind};

pub async fn the_readme_session_works(deployment: Deployment) {
    let (admin, mia, jonas) = (deployment.admin(), deployment.user("Mia"), deployment.user("Jonas"));
    let movie = admin.register_movie("Seven Samurai").await;
    assert_eq!(movie.header("location"), format!("/v1/movies/{}", movie.id()));

    let posted = mia
        .post(&format!("/v1/movies/{}/comments", movie.id()), &json!({"title": "Rain", "body": "The last battle!"}))
        .await
        .expect(StatusCode::CREATED);
    let mia = mia.having_seen(&posted);
    let timeline = mia.get("/v1/comments").await.expect(StatusCode::OK).json();
    let comment = &timeline["items"][0];
    assert_eq!(comment["id"], posted.id());
    assert_eq!(comment["movie"], json!({"id": movie.id(), "title": "Seven Samurai"}));
    assert_eq!(comment["author"]["display_name"], "Mia");
    assert_eq!((comment["title"].as_str(), comment["body"].as_str()), (Some("Rain"), Some("The last battle!")));
    assert_eq!(timeline["next_cursor"], json!(null));
    let one = mia.get(&posted.header("location")).await.expect(StatusCode::OK).json();
    assert_eq!(&one, comment);

    let author = comment["author"]["id"].as_str().unwrap();
    let favorited = jonas.put(&format!("/v1/me/favorites/{author}")).await.expect(StatusCode::NO_CONTENT);
    let jonas = jonas.having_seen(&favorited);
    assert_eq!(jonas.get("/v1/me/favorites").await.items("display_name"), ["Mia"]);
    assert_eq!(jonas.get("/v1/me/timeline").await.items("id"), [posted.id()]);

    let deleted = mia.delete(&posted.header("location")).await.expect(StatusCode::NO_CONTENT);
    let mia = mia.having_seen(&deleted);
    mia.get(&posted.header("location")).await.problem(410);
    assert!(mia.get("/v1/comments").await.items("id").is_empty());
    assert!(jonas.having_seen(&deleted).get("/v1/me/timeline").await.items("id").is_empty());
}

pub async fn the_services_show_themselves(mut deployment: Deployment) {
    let nobody = deployment.nobody();
    for base in [&nobody.commands, &nobody.queries] {
        for (path, part) in [
            ("/livez", "alive"),
            ("/readyz", "ready"),
            ("/metrics", "balcony_http_requests_total"),
            ("/openapi.json", "\"openapi\":\"3.1"),
            ("/docs", "<!doctype html>"),
        ] {
            let answer = nobody.send(reqwest::Method::GET, format!("{base}{path}"), None).await.unwrap();
            let answer = answer.expect(StatusCode::OK);
            assert!(answer.text.contains(part), "{part} at {base}{path}: {}", answer.text);
        }
    }
    nobody.get("/nothing/here").await.problem(404);

    let services: &[&str] = match deployment.kind {
        Kind::Embedded { .. } => &["balcony"],
        Kind::Distributed { .. } => &["command-api", "query-api", "projector"],
    };
    for service in services {
        let status = deployment.process_mut(service).terminate().await;
        assert!(status.success(), "{service} ended with {status}");
    }
}
