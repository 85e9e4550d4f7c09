//! What operators see and do.

use std::time::Duration;

use balcony_domain::Event;
use balcony_domain::event::MovieRegistered;
use balcony_event_log::testing::eventually;
use balcony_event_log::{Headers, Message};
use reqwest::StatusCode;
use uuid::Uuid;

use crate::crash::message;
use crate::deployment::{Deployment, Kind};

pub async fn what_is_no_event_is_parked_and_the_rest_goes_on(mut deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    append_what_is_no_event(&mut deployment).await;

    let mia = deployment.user("Mia");
    let posted = mia.comment(&movie, "life goes on").await;
    let reader = mia.having_seen(&posted);
    reader.get(&posted.header("location")).await.expect(StatusCode::OK);
    eventually("the record after the broken ones is applied", Duration::from_secs(20), async || {
        let titles = reader.get("/v1/movies").await.expect(StatusCode::OK).items("title");
        titles.contains(&"after".to_owned()).then(|| assert!(!titles.contains(&"behind".to_owned())))
    })
    .await;

    let metrics = projection_metrics(&deployment).await;
    for line in [
        "balcony_projection_parked{projection=\"registry\"} 3",
        "balcony_projection_unknown_events_total{projection=\"registry\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

/// The metrics of the process that runs the projections.
pub async fn projection_metrics(deployment: &Deployment) -> String {
    let service = match deployment.kind {
        Kind::Embedded { .. } => "balcony",
        Kind::Distributed { .. } => "projector",
    };
    reqwest::get(format!("{}/metrics", deployment.process(service).url)).await.unwrap().text().await.unwrap()
}

/// Appends what the projections set aside, three records, and what they pass over, and a movie called "after".
pub async fn append_what_is_no_event(deployment: &mut Deployment) {
    // An embedded log is its process's own, so that one stops meanwhile.
    if let Kind::Embedded { .. } = deployment.kind {
        assert!(deployment.process_mut("balcony").terminate().await.success());
    }
    let topic = deployment.topics().facts;
    let movie_event = |title: &str| {
        let registered = MovieRegistered {
            movie_id: balcony_domain::MovieId(Uuid::now_v7()),
            title: title.into(),
            company_id: None,
            released_on: None,
        };
        message(Event::MovieRegistered(registered))
    };
    {
        let log = deployment.log().await;
        let mut broken = movie_event("broken");
        broken.payload = b"{\"movie_id\":".to_vec();
        let mut behind = movie_event("behind");
        behind.key = broken.key.clone();
        let mut newer = Headers::new();
        for (name, value) in movie_event("newer").headers.iter() {
            let value = if name == "ce_type" { b"balcony.movie.registered.v99" } else { value };
            newer.push(name, value);
        }
        let junk = Message { key: Vec::new(), headers: Headers::new(), payload: vec![0, 159, 146, 150] };
        for message in [junk, broken, behind, Message { headers: newer, ..movie_event("newer") }, movie_event("after")]
        {
            log.append(&topic, message).await.unwrap();
        }
    }
    if let Kind::Embedded { .. } = deployment.kind {
        deployment.processes.clear();
        deployment.start("balcony", &[]).await;
    }
}

pub async fn the_demo_fills_an_instance(deployment: Deployment) {
    let url = deployment.nobody().commands;
    let arguments =
        ["demo", "--url", &url, "--rate", "100", "--speed", "10", "--actions", "100", "--movies", "3", "--people", "5"];
    let mut command = deployment.command(&arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("comments"));
    let reader = deployment.nobody();
    eventually("the demo's comments are there", Duration::from_secs(20), async || {
        let movies = reader.get("/v1/movies").await.expect(StatusCode::OK).json();
        let comments = reader.get("/v1/comments").await.items("id");
        (movies["items"].as_array().unwrap().len() == 3 && comments.len() == 20).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_show_the_events_with_their_headers() {
    let Some(deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("Readable").await.id();
    let Kind::Distributed { brokers, prefix, .. } = &deployment.kind else { unreachable!() };
    let mut command = std::process::Command::new(crate::deployment::root().join("tests/services"));
    command.args(["consume", &format!("{prefix}events"), "2"]).env("KAFKA_BOOTSTRAP_SERVERS", brokers);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in
        ["ce_type:balcony.movie.registered.v1", &format!("ce_subject:{movie}"), "ce_specversion:1.0", "Readable"]
    {
        assert!(shown.contains(part), "{part} in {shown}{}", String::from_utf8_lossy(&output.stderr));
    }
}
