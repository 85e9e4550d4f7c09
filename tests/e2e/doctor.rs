//! How an installation says that it is well, and that it is not.

use std::time::Duration;

use balcony_event_log::Message;
use balcony_event_log::testing::eventually;
use reqwest::StatusCode;
use serde_json::Value;

use crate::deployment::{Deployment, Kind};
use crate::kafka::Administrator;
use crate::parked::{append, broken, complaint, movie, run, stdout};
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(30);
const PROJECTIONS: [&str; 5] = ["registry", "comments", "favorites", "statistics", "search"];

/// What the doctor says, and whether everything is well.
async fn examined(deployment: &Deployment) -> (Vec<Value>, bool) {
    let output = run(deployment, &["doctor", "--json"]).await;
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1));
        complaint(&output);
    }
    (diagnosis["projections"].as_array().unwrap().clone(), output.status.success())
}

#[track_caller]
fn called<'d>(diagnosed: &'d [Value], name: &str) -> &'d Value {
    diagnosed.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} in {diagnosed:?}"))
}

fn service(deployment: &Deployment) -> &'static str {
    match deployment.kind {
        Kind::Embedded { .. } => "balcony",
        Kind::Distributed { .. } => "projector",
    }
}

pub async fn the_doctor_says_who_is_well_and_who_is_not(mut deployment: Deployment) {
    let posted = deployment.admin().register_movie("A movie").await;
    deployment.nobody().having_seen(&posted).get("/v1/movies").await.expect(StatusCode::OK);
    let well = eventually("everything is well and caught up", PATIENCE, async || {
        let (diagnosed, well) = examined(&deployment).await;
        let idle = |one: &Value| one["state"] == "running" && one["lag"]["events"] == 0;
        (well && diagnosed.iter().all(idle)).then_some(diagnosed)
    })
    .await;
    for name in PROJECTIONS {
        let one = called(&well, name);
        let kind = if name == "search" { "replica" } else { "projection" };
        assert_eq!((&one["kind"], &one["ill"], &one["parked"]), (&kind.into(), &false.into(), &0.into()));
        assert_eq!((&one["lag"]["seconds"], &one["last_error"]), (&0.0.into(), &Value::Null));
        assert!(one["generation"].is_i64() && one["version"].is_i64() && one["events_per_second"].is_f64(), "{one}");
        assert!(one["positions"].is_object() && one["busy"].is_f64() && one["rebuild"].is_null(), "{one}");
        let workers = one["workers"].as_array().unwrap();
        assert!(workers.len() == 1 && workers[0]["pid"].is_i64() && workers[0]["host"].is_string(), "{one}");
    }
    let output = run(&deployment, &["doctor"]).await;
    assert!(output.status.success(), "{output:?}");
    let table = stdout(&output);
    assert!(table.starts_with("NAME ") && PROJECTIONS.iter().all(|name| table.contains(name)), "{table}");
    assert!(table.contains("\ncompany-mail (off: SMTP_URL is not set"), "{table}");

    let url = deployment.process(service(&deployment)).url.clone();
    let states: Value = reqwest::get(format!("{url}/projections")).await.unwrap().json().await.unwrap();
    assert!(states[0]["lag"]["events"].is_i64() && states[0]["positions"].is_object(), "{states}");
    let metrics = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        "balcony_projection_lag_events{projection=\"comments\"} 0",
        "balcony_projection_lag_seconds{projection=\"comments\"} 0",
        "balcony_projection_generation{projection=\"comments\"} 1",
        "balcony_projection_state{projection=\"comments\",state=\"running\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert!(metrics.contains("balcony_projection_busy_ratio{projection=\"comments\"}"), "{metrics}");

    append(&mut deployment, vec![broken()]).await;
    eventually("what is parked is an illness", PATIENCE, async || {
        let (diagnosed, well) = examined(&deployment).await;
        (!well && called(&diagnosed, "registry")["parked"] == 1).then_some(())
    })
    .await;
    let output = run(&deployment, &["doctor"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("registry: 1 parked: balcony parked list"), "{output:?}");
    assert!(complaint(&output).contains("registry"), "{output:?}");

    deployment.kill(service(&deployment));
    if let Kind::Distributed { .. } = deployment.kind {
        deployment.kill("query-api");
    }
    let dead = eventually("who was killed is named", PATIENCE, async || {
        let (diagnosed, well) = examined(&deployment).await;
        assert!(!well);
        let is_dead = |name: &&str| called(&diagnosed, name)["state"] == "dead";
        PROJECTIONS.iter().all(is_dead).then_some(diagnosed)
    })
    .await;
    assert!(dead.iter().all(|one| one["ill"] == true), "{dead:?}");
    let output = run(&deployment, &["doctor"]).await;
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let said = complaint(&output);
    assert!(said.contains("nothing is running") && said.contains("comments"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_works_on_is_named_with_how_far_it_is_behind() {
    let Some(services) = Services::shared() else { return };
    let mut deployment = Deployment::distributed_idle(&services).await;
    deployment.start("projector", &["projector"]).await;
    deployment.start("partial", &["projector", "--only", "registry"]).await;
    let log = deployment.log().await;
    let facts = deployment.topics().facts;
    let append = async |message: Message| log.append(&facts, message).await.unwrap();
    append(movie("before")).await;
    assert!(deployment.process_mut("projector").terminate().await.success());
    let diagnosed = eventually("one who ends in order leaves at once", PATIENCE, async || {
        let (diagnosed, well) = examined(&deployment).await;
        assert!(!well);
        (called(&diagnosed, "comments")["state"] == "missing").then_some(diagnosed)
    })
    .await;
    assert_eq!(called(&diagnosed, "registry")["workers"].as_array().unwrap().len(), 1);

    append(movie("after")).await;
    let (diagnosed, _) = examined(&deployment).await;
    let comments = called(&diagnosed, "comments");
    assert!(comments["lag"]["events"].as_i64() >= Some(1), "{comments}");
    let seconds = comments["lag"]["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{comments}");
    let output = run(&deployment, &["doctor"]).await;
    assert!(stdout(&output).contains("comments: no worker has been seen"), "{output:?}");
    eventually("the one that goes on is well", PATIENCE, async || {
        let (diagnosed, _) = examined(&deployment).await;
        let registry = called(&diagnosed, "registry");
        (registry["state"] == "running" && registry["lag"]["events"] == 0 && registry["ill"] == false).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_facts_that_is_changed_to_forget_is_an_illness_at_once() {
    let Some(services) = Services::shared() else { return };
    let mut deployment = Deployment::distributed_idle(&services).await;
    deployment.start("projector", &["projector"]).await;
    let (administrator, facts) = (Administrator::of(&deployment), deployment.topics().facts);
    let complains = format!("log: the topic {facts} would lose facts: retention.ms is 3600000");
    for (retention, is_ill) in [("-1", false), ("3600000", true), ("-1", false)] {
        administrator.retain(&facts, retention).await;
        let output = eventually("doctor sees it", PATIENCE, async || {
            let output = run(&deployment, &["doctor"]).await;
            (stdout(&output).contains(&complains) == is_ill).then_some(output)
        })
        .await;
        assert!(stdout(&output).contains("registry"), "{output:?}");
        if is_ill {
            assert!(stdout(&output).contains("--add-config retention.ms=-1"), "{output:?}");
            assert_eq!(output.status.code(), Some(1));
            assert!(complaint(&output).contains("log"), "{output:?}");
        }
    }
}

/// As on a standby, which answers and takes no writes.
#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_needs_a_database_that_takes_no_writes() {
    let Some(services) = Services::shared() else { return };
    let mut deployment = Deployment::distributed_idle(&services).await;
    deployment.start("projector", &["projector"]).await;
    append(&mut deployment, vec![broken()]).await;
    let Kind::Distributed { database_url, .. } = &deployment.kind else { unreachable!("it is distributed") };
    let only_reading = format!("{database_url}?options=-c%20default_transaction_read_only%3Don");
    let run = async |arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.env("DATABASE_URL", &only_reading);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let id = eventually("the broken record is listed", PATIENCE, async || {
        let listed = run(&["parked", "list", "--json"]).await;
        assert!(listed.status.success(), "{listed:?}");
        let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
        listed.first().map(|parked| parked["id"].as_str().unwrap().to_owned())
    })
    .await;
    let doctor = run(&["doctor"]).await;
    assert!(stdout(&doctor).contains("registry") && stdout(&doctor).contains("running"), "{doctor:?}");
    let refused = run(&["parked", "discard", &id]).await;
    assert_eq!(refused.status.code(), Some(1), "that would write: {refused:?}");
}
