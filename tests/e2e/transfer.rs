//! The log out of one installation and into another.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::client::Client;
use crate::deployment::{Deployment, Kind, bare_command};
use crate::operators::{append_what_is_no_event, projection_metrics};
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command of an installation, with a file as its standard input.
async fn run(deployment: &Deployment, arguments: &[&str], input: Option<&Path>) -> Output {
    let mut command = deployment.command(arguments);
    if let Some(input) = input {
        command.stdin(File::open(input).unwrap());
    }
    spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What it said at the end: how many events, and their SHA-256.
#[track_caller]
fn summary(output: &Output) -> (u64, String) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let line = stderr.lines().last().unwrap();
    let (events, digest) = line.split_once(" events, SHA-256 ").unwrap_or_else(|| panic!("{stderr}"));
    (events.parse().unwrap(), digest.to_owned())
}

/// The line that says why it was refused.
#[track_caller]
fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    stderr.lines().last().unwrap_or_default().to_owned()
}

/// The export of an installation in a file of its own.
struct Exported {
    file: PathBuf,
    text: String,
    summary: (u64, String),
    folder: TempDir,
}

async fn export(deployment: &Deployment) -> Exported {
    let output = run(deployment, &["export"], None).await;
    let summary = summary(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count() as u64, summary.0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, &text).unwrap();
    Exported { file, text, summary, folder }
}

fn sorted(text: &str) -> Vec<&str> {
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// A new installation without a process.
async fn another(distributed: bool) -> Option<Deployment> {
    match distributed {
        false => Some(Deployment::embedded_idle()),
        true => Some(Deployment::distributed_idle(&Services::shared()?).await),
    }
}

async fn another_like(deployment: &Deployment) -> Deployment {
    let distributed = matches!(deployment.kind, Kind::Distributed { .. });
    another(distributed).await.expect("one of its kind is running")
}

/// Lets people do everything there is to do. Gives what to ask about it and a client that has seen it.
async fn fill(deployment: &Deployment) -> (Vec<String>, Client) {
    let admin = deployment.admin();
    let company =
        admin.post("/v1/companies", &json!({"name": "Toho", "contact_email": "press@toho.example"})).await.id();
    let movie = admin.post("/v1/movies", &json!({"title": "七人の侍", "company_id": company})).await.id();
    let other_movie = admin.register_movie("Ikiru").await.id();
    let mia = deployment.user("Mia");
    let posted = mia
        .clone()
        .with_key("once")
        .post(&format!("/v1/movies/{movie}/comments"), &json!({"body": "The last\nbattle \"!\" 🌧"}))
        .await
        .expect(StatusCode::CREATED);
    let mia = mia.having_seen(&posted);
    let author = mia.get(&posted.header("location")).await.json()["author"]["id"].as_str().unwrap().to_owned();
    for number in 0..20 {
        mia.comment(&other_movie, &format!("number {number}")).await;
    }
    let deleted = mia.comment(&movie, "regretted").await;
    let mia = mia.having_seen(&deleted);
    mia.delete(&deleted.header("location")).await.expect(StatusCode::NO_CONTENT);
    let profile = json!({"display_name": "Mia Ō", "location": "Oslo"});
    mia.command(Method::PUT, "/v1/me", Some(&profile)).await.expect(StatusCode::NO_CONTENT);
    let jonas = deployment.user("Jonas").having_seen(&posted);
    jonas.put(&format!("/v1/me/favorites/{author}")).await.expect(StatusCode::NO_CONTENT);
    let mut last = None;
    for _ in 0..5 {
        last = Some(jonas.post(&format!("/v1/movies/{movie}/views"), &json!({})).await.expect(StatusCode::ACCEPTED));
    }
    let paths = [
        "/v1/comments?limit=100".to_owned(),
        posted.header("location"),
        deleted.header("location"),
        "/v1/movies".to_owned(),
        format!("/v1/movies/{movie}"),
        format!("/v1/movies/{movie}/comments"),
        format!("/v1/companies/{company}/comments"),
        format!("/v1/users/{author}"),
        format!("/v1/users/{author}/journey"),
        "/v1/me/favorites".to_owned(),
        "/v1/me/timeline".to_owned(),
    ];
    (paths.into(), jonas.having_seen(&last.unwrap()))
}

async fn answers(client: &Client, paths: &[String]) -> Vec<(StatusCode, serde_json::Value)> {
    let mut answers = Vec::new();
    for path in paths {
        let answer = client.get(path).await;
        let mut body = answer.json();
        // A problem names the request.
        body.as_object_mut().unwrap().remove("instance");
        answers.push((answer.status, body));
    }
    answers
}

/// How many records each projection has set aside.
async fn parked(deployment: &Deployment) -> Vec<String> {
    let metrics = projection_metrics(deployment).await;
    let lines = metrics.lines().filter(|line| line.starts_with("balcony_projection_parked{"));
    // Shown by those who search, which in a distributed deployment is another process.
    let lines = lines.filter(|line| !line.contains("\"search\""));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

pub async fn a_log_moves_to_installations_of_both_kinds(mut deployment: Deployment) {
    let (paths, _) = fill(&deployment).await;
    append_what_is_no_event(&mut deployment).await;
    let last = deployment.admin().register_movie("The last one").await;
    let reader = deployment.user("Jonas").having_seen(&last);
    eventually("the broken records are parked", PATIENCE, async || {
        let parked = parked(&deployment).await;
        parked.contains(&"balcony_projection_parked{projection=\"registry\"} 3".to_owned()).then_some(())
    })
    .await;

    let exported = export(&deployment).await;
    assert_eq!(exported.text.matches("balcony.log.record.v1").count(), 2, "what does not decode is wrapped");
    for distributed in [false, true] {
        let Some(mut other) = another(distributed).await else { continue };
        let imported = run(&other, &["import", "--expect", &exported.summary.1], Some(&exported.file)).await;
        assert_eq!(summary(&imported), exported.summary);
        assert!(imported.stdout.is_empty());
        assert_eq!(export(&other).await.summary, exported.summary, "before it runs");
        other.start_all().await;

        let there = other.user("Jonas");
        eventually("the same is answered", PATIENCE, async || {
            (answers(&there, &paths).await == answers(&reader, &paths).await).then_some(())
        })
        .await;
        eventually("the same is parked", PATIENCE, async || {
            (parked(&other).await == parked(&deployment).await).then_some(())
        })
        .await;
        assert_eq!(export(&other).await.summary, exported.summary, "while it runs");

        // What was done under a key stays done.
        let comment = reader.get(&paths[1]).await.expect(StatusCode::OK).json();
        let movie = comment["movie"]["id"].as_str().unwrap();
        let again = other
            .user("Mia")
            .with_key("once")
            .post(&format!("/v1/movies/{movie}/comments"), &json!({"body": "The last\nbattle \"!\" 🌧"}))
            .await;
        assert_eq!(again.expect(StatusCode::CREATED).id(), comment["id"].as_str().unwrap());
    }
}

pub async fn an_import_is_checked_before_anything_is_appended(deployment: Deployment) {
    fill(&deployment).await;
    let exported = export(&deployment).await;
    let other = another_like(&deployment).await;
    let wrong = exported.folder.path().join("wrong.ndjson");
    let lines: Vec<_> = exported.text.split_inclusive('\n').collect();
    let all_but_one = lines[..lines.len() - 1].concat();
    let with_line =
        |number: usize, line: &str| [&lines[..number - 1].concat(), line, "\n", &lines[number..].concat()].concat();
    for (text, arguments, part) in [
        (with_line(17, "{\"specversion\":"), &["import"][..], "balcony: line 17: is not JSON"),
        (with_line(17, "{\"name\":\"Mia\"}"), &["import"], "balcony: line 17: is no CloudEvent"),
        (with_line(1, ""), &["import"], "balcony: line 1: is empty"),
        (with_line(3, &lines[0].replace("_id\"", "\"")), &["import"], "balcony: line 3: the data is no balcony."),
        (with_line(2, lines[0].trim_end()), &["import"], "balcony: line 2: stands at"),
        (exported.text[..exported.text.len() - 9].to_owned(), &["import", "--resume"], "is not JSON"),
        (all_but_one, &["import", "--expect", &exported.summary.1], "balcony: --expect: "),
        (exported.text.clone(), &["import", "--expect", "abc"], "balcony: --expect: "),
    ] {
        std::fs::write(&wrong, text).unwrap();
        let refused = refusal(&run(&other, arguments, Some(&wrong)).await);
        assert!(refused.contains(part), "{part:?} in {refused:?}");
    }

    let imported = run(&other, &["import", "--expect", &exported.summary.1], Some(&exported.file)).await;
    assert_eq!(summary(&imported), exported.summary, "the log was still empty");
    let refused = refusal(&run(&other, &["import"], Some(&exported.file)).await);
    assert!(refused.starts_with("balcony: the log is not empty"), "{refused}");
    let again = run(&other, &["import", "--resume"], Some(&exported.file)).await;
    assert_eq!(summary(&again), exported.summary, "there was nothing left to do");
    assert_eq!(export(&other).await.summary, exported.summary);

    let refused = refusal(&run(&deployment, &["import"], Some(&exported.file)).await);
    let expected = match deployment.kind {
        Kind::Embedded { .. } => "balcony: DATA_DIR: another process holds",
        Kind::Distributed { .. } => "balcony: the log is not empty",
    };
    assert!(refused.starts_with(expected), "{refused}");
}

pub async fn an_export_that_was_cut_short_goes_on(deployment: Deployment) {
    fill(&deployment).await;
    let exported = export(&deployment).await;
    let file = exported.folder.path().join("cut.ndjson");
    let path = file.to_str().unwrap();
    let ends: Vec<usize> = exported.text.match_indices('\n').map(|(end, _)| end + 1).collect();
    let length = exported.text.len();
    for cut in [0, 1, ends[0] - 1, ends[0], ends[0] + 1, ends[9], ends[9] + 200, length - 1, length] {
        std::fs::write(&file, &exported.text.as_bytes()[..cut]).unwrap();
        let output = run(&deployment, &["export", "--resume", path], None).await;
        assert_eq!(summary(&output), exported.summary, "cut at {cut}");
        assert!(output.stdout.is_empty());
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(sorted(&text), sorted(&exported.text), "cut at {cut}");
        let kept = ends.iter().copied().rfind(|end| *end <= cut).unwrap_or(0);
        assert_eq!(text[..kept], exported.text[..kept], "cut at {cut}");
    }

    deployment.admin().register_movie("A new one").await;
    let (events, _) = summary(&run(&deployment, &["export", "--resume", path], None).await);
    assert_eq!(events, exported.summary.0 + 1, "what is new is added");

    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("A new one", "Another one");
    std::fs::write(&file, &other).unwrap();
    let refused = refusal(&run(&deployment, &["export", "--resume", path], None).await);
    assert!(refused.contains("another log"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), other);
}

/// Events of many users, some of whom do more than one thing.
fn many_lines(count: usize) -> String {
    let line = |number: usize| {
        let (follower, followee) = (Uuid::from_u128((number % 7_001) as u128), Uuid::from_u128(1 << 64));
        let event = json!({
            "specversion": "1.0",
            "id": Uuid::from_u128(2 << 64 | number as u128),
            "source": "/balcony",
            "type": if number.is_multiple_of(3) { "balcony.user.unfavorited.v1" } else { "balcony.user.favorited.v1" },
            "time": "2026-01-31T18:30:00.123Z",
            "partitionkey": follower,
            "data": {"follower_id": follower, "followee_id": followee},
        });
        format!("{event}\n")
    };
    (0..count).map(line).collect()
}

pub async fn an_import_that_was_killed_goes_on(deployment: Deployment) {
    const EVENTS: usize = 30_000;
    let other = another_like(&deployment).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, many_lines(EVENTS)).unwrap();
    let topics = [other.topics().facts, other.topics().views];
    for (arguments, enough) in [(&["import"][..], 2_000), (&["import", "--resume"], 12_000)] {
        let mut command = other.command(arguments);
        let mut import = command.stdin(File::open(&file).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        let log = eventually("there is a log", PATIENCE, async || other.log_beside().await).await;
        eventually("a part is imported", PATIENCE, async || {
            let ends = log.ends(&topics).await.ok()?;
            let appended: i64 = ends.into_iter().map(|(_, end)| end).sum();
            (appended > enough).then_some(())
        })
        .await;
        import.kill().unwrap();
        import.wait().unwrap();
    }
    let refused = refusal(&run(&other, &["import"], Some(&file)).await);
    assert!(refused.contains("--resume"), "{refused}");
    let imported = summary(&run(&other, &["import", "--resume"], Some(&file)).await);
    assert_eq!(imported.0, EVENTS as u64);
    let exported = export(&other).await;
    assert_eq!(exported.summary, imported, "every event is there once");
    assert_eq!(in_order(&exported.text), in_order(&std::fs::read_to_string(&file).unwrap()));

    // Whoever reads may leave.
    let mut child = other.command(&["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let left = spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.wait_with_output().unwrap()
    });
    let left = left.await.unwrap();
    assert!(!left.status.success());
    assert_eq!(String::from_utf8_lossy(&left.stderr), "");
}

/// The ids of each key's events, in their order.
fn in_order(text: &str) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut by_key = std::collections::BTreeMap::<String, Vec<String>>::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        by_key.entry(field("partitionkey")).or_default().push(field("id"));
    }
    by_key
}

#[test]
fn where_there_is_no_installation_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let output = bare_command(&["export"]).env("DATA_DIR", &data_dir).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.starts_with("balcony: DATA_DIR: "), "{stderr}");
    assert!(output.stdout.is_empty() && !data_dir.exists());
}
