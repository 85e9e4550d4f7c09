//! A broker and a database that go away and come back, and instances that share the work.

use std::time::Duration;

use balcony_event_log::testing::eventually;
use reqwest::StatusCode;

use crate::client::Client;
use crate::crash::{Load, assert_all_there};
use crate::deployment::Deployment;
use crate::fold::equals_a_fold;
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_and_a_database_killed_under_load_lose_and_repeat_nothing() {
    let Some(services) = Services::private() else { return };
    let deployment = Deployment::distributed_on(&services).await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut load = Load::start(&deployment, &movie);
    for service in ["postgres", "kafka", "postgres"] {
        load.acknowledged(300).await;
        services.kill(service);
        services.restart(service);
        // What was acknowledged before the fault was seen is not the proof that the fault is over.
        load.catch_up();
    }
    load.acknowledged(300).await;
    let all = load.stop().await;

    assert_all_there(&equals_a_fold(&deployment).await, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_end_ends_although_the_database_is_away() {
    let Some(services) = Services::private() else { return };
    let mut deployment = Deployment::distributed_on(&services).await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    // One who has parked records looks after them.
    crate::parked::append(&mut deployment, vec![crate::parked::broken()]).await;
    deployment.user("Mia").comment(&movie, "x").await;
    services.kill("postgres");
    let nobody = deployment.nobody();
    eventually("the database is missed", PATIENCE, async || {
        (nobody.get("/v1/comments").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    for service in ["projector", "query-api", "command-api"] {
        assert!(deployment.process_mut(service).terminate().await.success(), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_commands_are_put_off_and_queries_go_on() {
    let Some(services) = Services::private() else { return };
    let deployment = Deployment::distributed_on(&services).await;
    let movie = deployment.admin().register_movie("A movie").await;
    let mia = deployment.user("Mia");
    let posted = mia.comment(&movie.id(), "before").await;
    let path = format!("/v1/movies/{}/comments", movie.id());
    let reader = mia.clone().having_seen(&posted);
    assert_eq!(reader.get(&path).await.items("body"), ["before"]);

    services.kill("kafka");
    let put_off = mia.post(&path, &serde_json::json!({"body": "during"})).await;
    put_off.problem(503);
    assert!(!put_off.header("retry-after").is_empty());
    assert_eq!(reader.get(&path).await.items("body"), ["before"]);

    services.kill("postgres");
    let answer = reader.get(&path).await;
    answer.problem(503);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_talk_to_any_instance_at_any_time() {
    let Some(mut deployment) = Deployment::distributed().await else { return };
    deployment.start("second command-api", &["command-api"]).await;
    deployment.start("second query-api", &["query-api"]).await;
    let url = |name: &str| deployment.process(name).url.clone();
    let (commands, queries) =
        ([url("command-api"), url("second command-api")], [url("query-api"), url("second query-api")]);
    let anywhere = |client: Client, number: usize| client.talking_to(&commands[number % 2], &queries[number / 2 % 2]);

    let movie = anywhere(deployment.admin(), 0).register_movie("A movie").await;
    let mut mia = deployment.user("Mia").having_seen(&movie);
    let path = format!("/v1/movies/{}/comments", movie.id());
    for number in 0..20 {
        mia = anywhere(mia, number);
        let posted = mia.comment(&movie.id(), &format!("number {number}")).await;
        mia = anywhere(mia.having_seen(&posted), number + 3);
        assert_eq!(mia.get(&format!("{path}?limit=1")).await.items("id"), [posted.id()]);
        let key = format!("key {number}").replace(' ', "-");
        let once = anywhere(mia.clone(), number).with_key(&key).comment(&movie.id(), "once").await;
        let again = anywhere(mia.clone(), number + 1).with_key(&key).comment(&movie.id(), "once").await;
        assert_eq!(once.id(), again.id());
        mia = mia.having_seen(&again);
        let deleted = anywhere(mia.clone(), number + 1).delete(&once.header("location")).await;
        mia = mia.having_seen(&deleted.expect(StatusCode::NO_CONTENT));
    }
    assert_eq!(mia.get(&format!("{path}?limit=100")).await.items("id").len(), 20);
}
