//! What is shown where: to everybody, and to operators; and where a client is sent.

use reqwest::StatusCode;
use serde_json::json;

use crate::deployment::Deployment;

/// Paths that only operators are shown.
const OPERATORS: &[&str] = &["/metrics", "/projections"];

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_port_of_their_own_when_they_are_given_one() {
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.push(("ADMIN_LISTEN", "127.0.0.1:0".to_owned()));
    deployment.start_all().await;
    let operators = deployment.process("balcony").operators_url();
    let client = reqwest::Client::new();
    let status = async |url: String| client.get(url).send().await.unwrap().status();

    let everybody = deployment.nobody();
    for path in OPERATORS {
        everybody.get(path).await.problem(404);
        assert_eq!(status(format!("{operators}{path}")).await, StatusCode::OK, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        everybody.get(path).await.expect(StatusCode::OK);
        assert_eq!(status(format!("{operators}{path}")).await, StatusCode::OK, "{path}");
    }
    assert_eq!(status(format!("{operators}/v1/comments")).await, StatusCode::NOT_FOUND);
    let ended = deployment.process_mut("balcony").terminate().await;
    assert!(ended.success(), "{ended}");
}

pub async fn readiness_speaks_an_operators_words(deployment: Deployment) {
    let names = async |service: &str| -> Vec<String> {
        let url = format!("{}/readyz", deployment.process(service).url);
        let answer: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "ready");
        let parts = answer["parts"].as_array().unwrap();
        parts.iter().map(|part| part["name"].as_str().unwrap().to_owned()).collect()
    };
    if deployment.processes.len() == 1 {
        assert_eq!(names("balcony").await, ["log", "projections", "read models", "search"]);
        return;
    }
    assert_eq!(names("command-api").await, ["Kafka", "PostgreSQL", "read models"]);
    assert_eq!(names("query-api").await, ["PostgreSQL", "read models", "search"]);
    assert_eq!(names("projector").await, ["Kafka", "projections", "PostgreSQL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_found_where_the_query_api_is() {
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.push(("QUERY_API_URL", "https://queries.example/balcony/".to_owned()));
    deployment.start_all().await;
    let movie = deployment.admin().register_movie("Rashomon").await;
    assert_eq!(movie.header("location"), format!("https://queries.example/balcony/v1/movies/{}", movie.id()));
    let again = deployment.admin().with_key("k").post("/v1/movies", &json!({"title": "Ikiru"})).await;
    assert_eq!(again.header("location"), format!("https://queries.example/balcony/v1/movies/{}", again.id()));
}
