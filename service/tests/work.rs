//! A service with work beside it. A process has one service, and this one test of it.

#![allow(clippy::unwrap_used)]

use std::future::pending;

use balcony_projector::{Application, Catalogue, Installation, TopicSpec};
use balcony_service::{Service, Settings, Surface};
use clap::{CommandFactory as _, FromArgMatches as _};
use tokio::sync::oneshot;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_beside_the_service_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Application::new("orders", [TopicSpec::forever("orders")], |_| Catalogue::new());
    let data_dir = folder.path().join("data");
    // Whatever the environment says.
    let command = Cli::command().mut_args(|argument| argument.env(None));
    let matches = command.get_matches_from(["orders", "--data-dir", &data_dir.display().to_string()]);
    let settings = Cli::from_arg_matches(&matches).unwrap().settings;
    let service = Service::open(&orders, &settings, "127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/livez", service.address());
    let (held, projector) = (service.installation().clone(), service.installation().start().unwrap());

    let (fail, failing) = oneshot::channel();
    let surface = Surface::new(Default::default(), Default::default())
        .without_greeting()
        .working(async { Ok(()) })
        .working(async move { Err(failing.await?) })
        .working(async move {
            let _held = held;
            pending().await
        });
    let served = tokio::spawn(service.serve(surface, projector));
    // What has ended without an error ends nothing.
    assert!(reqwest::get(&url).await.unwrap().status().is_success());
    fail.send(anyhow::anyhow!("the oven is broken")).unwrap();
    assert_eq!(served.await.unwrap().unwrap_err().to_string(), "the oven is broken");
    assert!(reqwest::get(&url).await.is_err());
    // The folder is free again.
    assert!(Installation::open(&orders, &settings.installation).await.is_ok());
}
