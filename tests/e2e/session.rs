//! The first minutes with Balcony.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::json;

use crate::deployment::{BINARY, Deployment, Kind, root};

/// Runs the README's shell session as it is printed, but for where the service and the program are.
pub async fn the_readme_session_works_as_printed(deployment: Deployment) {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```sh\n").unwrap();
    let (session, _) = rest.split_once("```").unwrap();
    let client = deployment.nobody();
    let script = session
        .replace("C=http://127.0.0.1:8080", &format!("C={}", client.commands))
        .replace("Q=http://127.0.0.1:8080", &format!("Q={}", client.queries))
        .replace("./target/release/balcony", BINARY);
    assert!(!script.contains("127.0.0.1:8080"));

    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.path());
    command.envs(deployment.settings.iter().map(|(name, value)| (*name, value.as_str())));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    // The comment in the movie's list, found, and in the timeline, then a problem that says that it is gone.
    assert_eq!(stdout.matches("The last battle!").count(), 3, "{stdout}");
    assert!(stdout.contains("The <mark>last battle</mark>!"), "{stdout}");
    assert!(stdout.contains("\"status\":410"), "{stdout}");
}

pub async fn the_first_steps_work(deployment: Deployment) {
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
            ("/metrics", "balcony_http_request_seconds_count"),
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
