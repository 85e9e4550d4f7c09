//! What operators see of records that were set aside, and do about them.

use std::process::Output;
use std::time::Duration;

use balcony_domain::Event;
use balcony_domain::event::MovieRegistered;
use balcony_event_log::testing::eventually;
use balcony_event_log::{Headers, Message};
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::crash::message;
use crate::deployment::{Deployment, Kind};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the binary with this installation's settings.
pub async fn run(deployment: &Deployment, arguments: &[&str]) -> Output {
    let mut command = deployment.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it says on standard error, which is one line.
#[track_caller]
pub fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

async fn listed(deployment: &Deployment, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["parked", "list", "--json", "--projection", "registry"], arguments].concat();
    let output = run(deployment, &arguments).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Puts records into the log as they are. An embedded log is its process's own, so that one stops meanwhile.
pub async fn append(deployment: &mut Deployment, messages: Vec<Message>) {
    let embedded = matches!(deployment.kind, Kind::Embedded { .. });
    if embedded {
        assert!(deployment.process_mut("balcony").terminate().await.success());
    }
    {
        let log = deployment.log().await;
        for message in messages {
            log.append(&deployment.topics().facts, message).await.unwrap();
        }
    }
    if embedded {
        deployment.processes.clear();
        deployment.start("balcony", &[]).await;
    }
}

pub fn movie(title: &str) -> Message {
    let movie_id = balcony_domain::MovieId(Uuid::now_v7());
    message(Event::MovieRegistered(MovieRegistered {
        movie_id,
        title: title.into(),
        company_id: None,
        released_on: None,
    }))
}

/// A record that should be an event and is not.
pub fn broken() -> Message {
    Message { payload: b"{\"movie_id\":".to_vec(), ..movie("broken") }
}

pub async fn what_is_parked_is_listed_shown_retried_and_discarded(mut deployment: Deployment) {
    let output = run(&deployment, &["parked", "list"]).await;
    assert_eq!(stdout(&output), "nothing is parked\n");
    assert_eq!(listed(&deployment, &[]).await, [Value::Null; 0]);

    let broken = broken();
    let key = String::from_utf8(broken.key.clone()).unwrap();
    let behind = Message { key: broken.key.clone(), ..movie("behind") };
    let junk = Message { key: Vec::new(), headers: Headers::new(), payload: vec![0, 159, 146, 150] };
    append(&mut deployment, vec![junk, broken, behind]).await;
    let mut parked = eventually("they are parked", PATIENCE, async || {
        Some(listed(&deployment, &[]).await).filter(|listed| listed.len() == 3)
    })
    .await;
    let position = parked.iter().position(|record| record["key"] == "").unwrap();
    let junk = parked.remove(position);
    let [broken, behind] = &parked[..] else { panic!("{parked:?}") };
    for (record, waits) in [(&junk, false), (broken, false), (behind, true)] {
        assert_eq!(record["projection"], "registry");
        assert_eq!(record["topic"], &*deployment.topics().facts);
        assert!(record["partition"].is_i64() && record["offset"].is_i64() && record["error"].is_string(), "{record}");
        let parked_at = record["parked_at"].as_str().unwrap();
        assert!(parked_at.len() == 24 && parked_at.ends_with('Z'), "{parked_at}");
        assert_eq!(record["waits"], waits, "{record}");
    }
    assert_eq!((&broken["key"], &behind["key"]), (&Value::from(key.as_str()), &Value::from(key.as_str())));
    let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
    let (junk, broken, behind) = (id(&junk), id(broken), id(behind));

    let table = stdout(&run(&deployment, &["parked", "list", "--projection", "registry"]).await);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.starts_with("ID ") && table.contains(&broken) && table.contains(&key), "{table}");
    let shown = stdout(&run(&deployment, &["parked", "show", &broken]).await);
    for part in [&broken, &key, "ce_type: balcony.movie.registered.v1", "{\"movie_id\":", "1 wait behind it", &behind] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let shown = stdout(&run(&deployment, &["parked", "show", &junk]).await);
    assert!(shown.contains("base64\nAJ+Slg==\n"), "{shown}");

    for asked in [&broken, &behind] {
        let output = run(&deployment, &["parked", "retry", asked]).await;
        assert_eq!(output.status.code(), Some(1));
        let said = stdout(&output);
        assert!(said.starts_with("0 applied, 2 still parked\n") && said.contains(&broken), "{said}");
        assert!(complaint(&output).contains(asked.as_str()), "{output:?}");
    }
    assert_eq!(run(&deployment, &["parked", "retry", "--all"]).await.status.code(), Some(1));
    assert_eq!(listed(&deployment, &[]).await.len(), 3);

    let reader = deployment.nobody();
    let output = run(&deployment, &["parked", "discard", &broken]).await;
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "1 discarded, 1 applied\n"));
    eventually("what waited is there", PATIENCE, async || {
        let titles = reader.get("/v1/movies").await.expect(StatusCode::OK).items("title");
        titles.contains(&"behind".to_owned()).then_some(())
    })
    .await;
    assert_eq!(listed(&deployment, &[]).await.iter().map(id).collect::<Vec<_>>(), [junk.as_str()]);
    let discarded = listed(&deployment, &["--discarded"]).await;
    assert!(discarded.iter().any(|record| id(record) == broken && record["discarded_at"].is_string()), "{discarded:?}");

    let service = match deployment.kind {
        Kind::Embedded { .. } => "balcony",
        Kind::Distributed { .. } => "projector",
    };
    let metrics = format!("{}/metrics", deployment.process(service).url);
    eventually("the running process counts anew", PATIENCE, async || {
        let metrics = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        metrics.lines().any(|line| line == "balcony_projection_parked{projection=\"registry\"} 1").then_some(())
    })
    .await;

    let output = run(&deployment, &["parked", "discard", "--all"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(listed(&deployment, &[]).await, [Value::Null; 0]);
    for action in ["show", "retry", "discard"] {
        let output = run(&deployment, &["parked", action, &Uuid::nil().to_string()]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(complaint(&output).contains("no record"), "{output:?}");
    }
}
