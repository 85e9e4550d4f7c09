//! A cluster of three nodes, which go away while people post and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;

use crate::crash::{Load, assert_all_there};
use crate::deployment::Deployment;
use crate::fold::equals_a_fold;
use balcony_test_support::Services;

#[tokio::test(flavor = "multi_thread")]
async fn people_post_and_read_while_one_node_after_another_dies() {
    let Some(services) = Services::cluster() else { return };
    let deployment = Deployment::distributed_on(&services).await;
    services.in_sync().await;
    let movie = deployment.admin().register_movie("A movie").await;
    let reader = deployment.nobody().having_seen(&movie);
    let path = format!("/v1/movies/{}/comments", movie.id());
    reader.get(&path).await.expect(StatusCode::OK);
    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (reader, path, done) = (deployment.nobody(), path.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                reader.get(&path).await.expect(StatusCode::OK);
            }
        }
    });
    let mut load = Load::start(&deployment, &movie.id());

    load.acknowledged(300).await;
    services.kill("kafka-1");
    // What was acknowledged before the fault was seen is not the proof that two nodes are enough.
    load.catch_up();
    load.acknowledged(300).await;
    services.restart("kafka-1");
    services.in_sync().await;
    services.kill("kafka-2");
    load.catch_up();
    load.acknowledged(300).await;
    let all = load.stop().await;

    done.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    let last = deployment.user("Mia").comment(&movie.id(), "the last one").await;
    let newest = deployment.nobody().having_seen(&last).get(&format!("{path}?limit=1&wait=10s")).await;
    assert_eq!(newest.items("id"), [last.id()]);
    assert_all_there(&equals_a_fold(&deployment).await, &all);
}
