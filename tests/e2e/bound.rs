//! A log and a database that belong together, and what becomes of it when one of them is exchanged.

use std::process::Output;
use std::time::Duration;

use balcony_event_log::testing::eventually;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::client::Client;
use crate::deployment::{Deployment, Kind};
use crate::kafka::Administrator;
use crate::rebuild::{operate, succeeded};
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a service that is expected to end by itself, and gives the line that says why.
async fn refused(deployment: &Deployment, arguments: &[&str]) -> String {
    let mut command = deployment.command(arguments);
    command.env("LISTEN", "127.0.0.1:0").env("RUST_LOG", "off");
    let output: Output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{arguments:?}: {stderr}");
    stderr.trim_end().to_owned()
}

async fn bodies(reader: &Client) -> Vec<String> {
    reader.get("/v1/comments?limit=100").await.expect(StatusCode::OK).items("body")
}

/// Posts comments `from..to` on `movie`, each after the one before, and gives who has seen the last.
async fn post(client: &Client, movie: &str, from: usize, to: usize) -> Client {
    let mut client = client.clone();
    for number in from..to {
        let posted = client.comment(movie, &format!("number {number}")).await;
        client = client.having_seen(&posted);
    }
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_made_anew_are_refused_by_what_runs_and_by_what_starts() {
    let Some(deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = post(&deployment.user("Mia"), &movie, 0, 30).await;
    assert_eq!(bodies(&mia).await.len(), 30);
    let topics = deployment.topics();
    // As soon as a record of every partition is known, which is looked for every second.
    let mut database = deployment.database().await;
    eventually("the records by which the log is recognised are written down", PATIENCE, async || {
        let marks: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM balcony.log_marks").fetch_one(&mut database).await.unwrap();
        (marks >= 6).then_some(())
    })
    .await;
    Administrator::of(&deployment).remake(&[&topics.facts, &topics.views]).await;

    let path = format!("/v1/movies/{movie}/comments");
    let answer = eventually("a command is refused with the reason", PATIENCE, async || {
        let answer = mia.post(&path, &json!({"body": "lost"})).await;
        // Nothing that is acknowledged from here on could be read.
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        answer.text.contains("is not the one that this installation was made with").then_some(answer)
    })
    .await;
    answer.problem(503);
    for service in ["command-api", "projector"] {
        let url = deployment.process(service).url.clone();
        eventually("it is not ready", PATIENCE, async || {
            let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
            (ready.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
    }
    for arguments in
        [&["projector"][..], &["command-api"], &["query-api"], &["doctor"], &["migrate"], &["rebuild", "comments"]]
    {
        let why = refused(&deployment, arguments).await;
        assert!(
            why.starts_with("balcony: KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX, DATABASE_URL: the database was used with another log: ")
                && why.contains("were there before")
                && why.ends_with("give this one a database of its own"),
            "{arguments:?}: {why}"
        );
    }
    let why = refused(&deployment, &["import"]).await;
    assert!(why.contains("the database was used with another log"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_prefix_mixes_nothing_and_makes_no_topics() {
    let Some(mut deployment) = Deployment::distributed().await else { return };
    deployment.admin().register_movie("A movie").await;
    let topics = deployment.topics();
    let prefix = deployment.settings.iter_mut().find(|(name, _)| *name == "KAFKA_TOPIC_PREFIX").unwrap();
    let mistyped = format!("x{}", prefix.1);
    prefix.1.clone_from(&mistyped);
    for service in ["projector", "command-api", "query-api"] {
        let why = refused(&deployment, &[service]).await;
        assert!(why.contains("KAFKA_TOPIC_PREFIX") && why.contains(&*topics.facts), "{why}");
    }
    assert_eq!(Administrator::of(&deployment).partitions(&format!("{mistyped}events")), 0, "no topic is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_database_on_the_same_topics_takes_nothing_away() {
    let Some(services) = Services::shared() else { return };
    let deployment = Deployment::distributed_on(&services).await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut mia = post(&deployment.user("Mia"), &movie, 0, 10).await;

    // The rehearsal of a restore.
    let mut rehearsal = Deployment::distributed_idle(&services).await;
    let prefix = deployment.settings.iter().find(|(name, _)| *name == "KAFKA_TOPIC_PREFIX").unwrap().1.clone();
    rehearsal.settings.iter_mut().find(|(name, _)| *name == "KAFKA_TOPIC_PREFIX").unwrap().1 = prefix;
    for service in ["projector", "query-api"] {
        rehearsal.start(service, &[service]).await;
    }
    for round in 1..=3 {
        mia = post(&mia, &movie, 10 * round, 10 * round + 10).await;
        assert_eq!(bodies(&mia).await.len(), 10 * round + 10);
        let there = mia.clone().talking_to(&mia.commands, &rehearsal.process("query-api").url);
        assert_eq!(bodies(&there).await.len(), 10 * round + 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_change_nothing_and_the_doctor_names_them() {
    let Some(mut deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia");
    let mut kept = Vec::new();
    let mut deleted = Vec::new();
    let mut seen = mia.clone();
    for number in 0..12 {
        let posted = seen.comment(&movie, &format!("number {number}")).await;
        seen = seen.having_seen(&posted);
        if number % 2 == 0 { kept.push(format!("number {number}")) } else { deleted.push(posted.header("location")) }
    }
    let facts = deployment.topics().facts;
    Administrator::of(&deployment).grow(&facts, 12).await;

    // While the services run, and after they were started again.
    for round in 0..2 {
        if round == 1 {
            for service in ["projector", "command-api", "query-api"] {
                assert!(deployment.process_mut(service).terminate().await.success());
            }
            deployment.processes.clear();
            deployment.start_all().await;
            let (commands, queries) = (&deployment.process("command-api").url, &deployment.process("query-api").url);
            seen = seen.talking_to(commands, queries);
        }
        for location in deleted.drain(..deleted.len() / (2 - round)) {
            let path = location.split_once("/v1").map(|(_, path)| format!("/v1{path}")).unwrap();
            let answer = seen.delete(&path).await.expect(StatusCode::NO_CONTENT);
            seen = seen.having_seen(&answer);
        }
        let profile = json!({"display_name": format!("Mia {round}")});
        let answer = seen.command(reqwest::Method::PUT, "/v1/me", Some(&profile)).await.expect(StatusCode::NO_CONTENT);
        seen = seen.having_seen(&answer);
        for read_model in ["registry", "comments"] {
            assert!(succeeded(&operate(&deployment, &["rebuild", read_model]).await).contains("is live"));
        }
        let list = seen.get("/v1/comments?limit=100").await.expect(StatusCode::OK).json();
        let items = list["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["author"]["display_name"] == format!("Mia {round}")), "{list}");
    }
    let mut left = bodies(&seen).await;
    left.sort();
    kept.sort();
    assert_eq!(left, kept, "what was deleted stays deleted");
    let found = seen.get("/v1/search?q=number&limit=100").await.expect(StatusCode::OK).json();
    assert_eq!(found["total"], kept.len(), "{found}");

    let doctor = eventually("everything is well", PATIENCE, async || {
        let output = operate(&deployment, &["doctor", "--json"]).await;
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap())
    })
    .await;
    let note = doctor["log"]["notes"][0].as_str().unwrap();
    assert!(note.starts_with(&format!("{facts} has got 6 more partitions")), "{note}");
    for projection in doctor["projections"].as_array().unwrap() {
        let positions = projection["positions"][&*facts].as_object();
        assert!(positions.is_none_or(|positions| positions.len() == 6), "{projection}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_come_by_export_and_import_into_a_new_installation() {
    let Some(services) = Services::shared() else { return };
    let deployment = Deployment::distributed_on(&services).await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = post(&deployment.user("Mia"), &movie, 0, 40).await;
    let before = bodies(&mia).await;
    let exported = operate(&deployment, &["export"]).await;
    assert!(exported.status.success(), "{exported:?}");

    let mut larger = Deployment::distributed_idle(&services).await;
    larger.settings.push(("KAFKA_PARTITIONS", "12".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, &exported.stdout).unwrap();
    let mut import = larger.command(&["import"]);
    import.stdin(std::fs::File::open(&file).unwrap());
    let imported = spawn_blocking(move || import.output().unwrap()).await.unwrap();
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(Administrator::of(&larger).partitions(&larger.topics().facts), 12);
    larger.start_all().await;
    let (commands, queries) = (&larger.process("command-api").url, &larger.process("query-api").url);
    let there = deployment.user("Mia").talking_to(commands, queries);
    eventually("everything is there", PATIENCE, async || (bodies(&there).await == before).then_some(())).await;
    let there = post(&there, &movie, 40, 60).await;
    assert_eq!(bodies(&there).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_lost_is_counted_and_everything_goes_on() {
    let Some(mut deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = post(&deployment.user("Mia"), &movie, 0, 12).await;
    assert_eq!(bodies(&mia).await.len(), 12);
    assert!(deployment.process_mut("projector").terminate().await.success());
    deployment.processes.retain(|process| process.name != "projector");
    let mut last = None;
    for number in 12..36 {
        last = Some(mia.comment(&movie, &format!("number {number}")).await);
    }
    // Below what was read some and above it some.
    let facts = deployment.topics().facts;
    let removed = Administrator::of(&deployment).remove_below(&facts, 4).await;
    assert!(removed > 13, "more than was read: {removed}");
    deployment.start("projector", &["projector"]).await;
    let seen = mia.having_seen(&last.unwrap());
    let left = bodies(&seen).await;
    assert!(left.contains(&"number 35".to_owned()) && left.contains(&"number 0".to_owned()), "{left:?}");

    // A node whose index is new reads what is left, too.
    let folder = tempfile::tempdir().unwrap();
    let data_dir = deployment.settings.iter_mut().find(|(name, _)| *name == "DATA_DIR").unwrap();
    data_dir.1 = folder.path().join("data").display().to_string();
    deployment.start("another query-api", &["query-api"]).await;
    let there = seen.clone().talking_to(&seen.commands, &deployment.process("another query-api").url);
    let found = there.get("/v1/search?q=number").await.expect(StatusCode::OK).json();
    assert!(found["total"].as_u64().is_some_and(|total| total > 0), "{found}");

    let doctor = operate(&deployment, &["doctor", "--json"]).await;
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let comments = doctor["projections"].as_array().unwrap().iter().find(|one| one["name"] == "comments").unwrap();
    let lost = comments["lost"].as_i64().unwrap();
    assert!(lost > 0 && lost < removed, "{comments}");
    assert!(comments["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("had forgotten")));
    let metrics = crate::operators::projection_metrics(&deployment).await;
    let metric = format!("balcony_projection_lost_total{{projection=\"comments\"}} {lost}");
    assert!(metrics.lines().any(|line| line == metric), "{metric} in {metrics}");
    // What the live generation has, a rebuild would lose.
    let rebuilt = operate(&deployment, &["rebuild", "comments"]).await;
    let stderr = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
    assert!(!rebuilt.status.success() && stderr.contains("would lose it"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_models_of_another_folder_are_refused() {
    let mut deployment = Deployment::embedded().await;
    deployment.admin().register_movie("A movie").await;
    assert!(deployment.process_mut("balcony").terminate().await.success());
    deployment.processes.clear();
    let Kind::Embedded { data_dir } = &deployment.kind else { unreachable!("it is embedded") };
    let data_dir = data_dir.clone();
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        let _ = std::fs::remove_file(data_dir.join(file));
    }
    for arguments in [&[][..], &["migrate"]] {
        let why = refused(&deployment, arguments).await;
        assert!(
            why.starts_with("balcony: DATA_DIR: the read models in ") && why.contains("remove read-models"),
            "{why}"
        );
    }
    std::fs::remove_dir_all(data_dir.join("read-models")).unwrap();
    deployment.start_all().await;
    assert!(deployment.nobody().get("/v1/movies").await.expect(StatusCode::OK).items("title").is_empty());
}
