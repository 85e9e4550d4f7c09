//! Settings that are wrong, and what the command line prints.

use std::process::Output;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::deployment::{Deployment, SECRET, bare_command};

fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    bare_command(arguments).envs(settings.iter().copied()).output().unwrap()
}

#[test]
fn a_wrong_setting_stops_the_process_with_one_line_that_names_it() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data").display().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below_file = file.join("data").display().to_string();
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let database = ("DATABASE_URL", "postgres://balcony:hush@127.0.0.1:1/balcony");
    for (arguments, settings, name) in [
        (&[][..], &[("LISTEN", "8080")][..], "LISTEN"),
        (&[], &[("LISTEN", "")], "LISTEN"),
        (&[], &[("DATA_DIR", "")], "DATA_DIR"),
        (&[], &[("DATA_DIR", &below_file)], "DATA_DIR"),
        (&[], &[kafka], "DATABASE_URL"),
        (&[], &[database], "KAFKA_BOOTSTRAP_SERVERS"),
        (&[], &[("KAFKA_BOOTSTRAP_SERVERS", ""), database], "KAFKA_BOOTSTRAP_SERVERS"),
        (&[], &[kafka, database], "JWT_SECRET"),
        (&[], &[("JWT_SECRET", "too short")], "JWT_SECRET"),
        (&[], &[("RATE_LIMIT", "many")], "RATE_LIMIT"),
        (&[], &[("CORS_ORIGINS", "balcony.example")], "CORS_ORIGINS"),
        (&[], &[("ADMIN_LISTEN", "9080")], "ADMIN_LISTEN"),
        (&[], &[("QUERY_API_URL", "queries.example")], "QUERY_API_URL"),
        (&[], &[("PUBLIC_URL", "ftp://balcony.example")], "PUBLIC_URL"),
        (&[], &[("KAFKA_PARTITIONS", "0")], "KAFKA_PARTITIONS"),
        (&[], &[("KAFKA_REPLICATION", "x")], "KAFKA_REPLICATION"),
        (&[], &[("KAFKA_TOPIC_PREFIX", "a b")], "KAFKA_TOPIC_PREFIX"),
        (&[], &[("JWKS_URL", "http://127.0.0.1:1/jwks")], "JWKS_URL"),
        (&["command-api"], &[], "KAFKA_BOOTSTRAP_SERVERS"),
        (&["projector", "--only", "nonsense"], &[kafka, database, ("JWT_SECRET", SECRET)], "--only"),
        (&["token", "--user", "Mia", "--role", "king"], &[("JWT_SECRET", SECRET)], "--role"),
        (&["token", "--user", "Mia", "--expires-in", "soon"], &[("JWT_SECRET", SECRET)], "--expires-in"),
    ] {
        let mut settings = settings.to_vec();
        if !settings.iter().any(|(name, _)| *name == "DATA_DIR") {
            settings.push(("DATA_DIR", &data_dir));
        }
        if !settings.iter().any(|(name, _)| *name == "LISTEN") {
            settings.push(("LISTEN", "127.0.0.1:0"));
        }
        let output = run(arguments, &settings);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{settings:?}");
        assert_eq!(stderr.lines().count(), 1, "{settings:?}: {stderr}");
        assert!(stderr.starts_with("balcony: ") && stderr.contains(name), "{settings:?}: {stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_belongs_to_one_process() {
    let deployment = Deployment::embedded().await;
    let output = deployment.command(&[]).env("LISTEN", "127.0.0.1:0").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("DATA_DIR"), "{stderr}");
    deployment.nobody().get("/v1/comments").await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_screen_can_be_pasted() {
    let folder = TempDir::new().unwrap();
    let mut command = bare_command(&["--data-dir", &folder.path().display().to_string(), "--listen", "127.0.0.1:0"]);
    let mut process = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let stdout = process.stdout.take().unwrap();
    let line = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        std::io::BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.starts_with("curl "))
    });
    let line = tokio::time::timeout(Duration::from_secs(30), line).await.unwrap().unwrap().expect("a curl line");
    let output =
        std::process::Command::new("sh").args(["-c", &format!("{line} --silent --show-error")]).output().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 201"), "{line}: {answer}");
}

#[test]
fn a_token_stands_alone_on_standard_output() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().display().to_string();
    let token = |arguments: &[&str]| {
        let output = run(&[&["token", "--user", "Mia"], arguments].concat(), &[("DATA_DIR", &data_dir)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = token(&[]);
    assert_eq!(first.lines().count(), 1);
    assert_eq!(first.trim().split('.').count(), 3);
    token(&["--role", "admin", "--expires-in", "1h"]);
}
