//! Settings that are wrong, and what the command line prints.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::client::Client;
use crate::deployment::{BINARY, Deployment, Kind, SECRET, authority, bare_command};
use balcony_test_support::Services;

fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    bare_command(arguments).envs(settings.iter().copied()).output().unwrap()
}

#[test]
fn a_wrong_setting_stops_the_process_with_one_line_that_names_it() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data").display().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, SECRET).unwrap();
    let below_file = file.join("data").display().to_string();
    let file = file.display().to_string();
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
        (&[], &[("JWKS_URL", "id.example/keys")], "JWKS_URL"),
        (&[], &[("JWKS_URL", "ftp://id.example/keys")], "JWKS_URL"),
        (&[], &[("JWKS_URL", "https://mia:hush@id.example/keys")], "JWKS_URL"),
        (&["token", "--user", "Mia"], &[("JWKS_URL", "http://127.0.0.1:1/keys")], "JWKS_URL"),
        (&[], &[("JWKS_URL", "")], "JWKS_URL"),
        (&[], &[("JWT_SECRET", "")], "JWT_SECRET"),
        (&[], &[("JWT_SECRET_FILE", &below_file)], "JWT_SECRET_FILE"),
        (&[], &[("JWT_SECRET_FILE", &file), ("JWT_SECRET", SECRET)], "JWT_SECRET_FILE"),
        (&[], &[("JWT_ISSUER", "")], "JWT_ISSUER"),
        (&[], &[("JWT_AUDIENCE", " ")], "JWT_AUDIENCE"),
        (&[], &[("TRUSTED_PROXIES", "proxy.example")], "TRUSTED_PROXIES"),
        (&[], &[("COMMAND_API_URL", "commands.example")], "COMMAND_API_URL"),
        (&[], &[("COMMAND_API_URL", "http://")], "COMMAND_API_URL"),
        (&[], &[("SMTP_URL", "mail.example:25")], "SMTP_URL"),
        (&[], &[("SMTP_URL_FILE", "")], "SMTP_URL_FILE"),
        (&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "otel")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&[], &[("RUST_LOG", "balcony=loud")], "RUST_LOG"),
        (&[], &[("RUST_LOG", "verbose")], "RUST_LOG"),
        (&[], &[("RUST_LOG", "")], "RUST_LOG"),
        // Before Kafka is waited for.
        (&["command-api"], &[kafka, ("DATABASE_URL", "mysql://hush@127.0.0.1/x")], "DATABASE_URL"),
        (&["command-api"], &[kafka, ("DATABASE_URL_FILE", &below_file)], "DATABASE_URL_FILE"),
        (&["command-api"], &[("KAFKA_BOOTSTRAP_SERVERS", "kafka:x"), database], "KAFKA_BOOTSTRAP_SERVERS"),
        (&["command-api"], &[kafka, database, ("JWT_SECRET", SECRET), ("LISTEN", "8081")], "LISTEN"),
        (&["doctor"], &[("RATE_LIMIT", "many")], "RATE_LIMIT"),
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

/// What a process says that ends because something is away.
fn complaint(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = run(arguments, settings);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cause_is_named_once_and_in_words_that_are_for_operators() {
    let Some(services) = Services::shared() else { return };
    // Its topics are there.
    let deployment = Deployment::distributed_on(&services).await;
    let Kind::Distributed { prefix, .. } = &deployment.kind else { unreachable!("it is distributed") };
    let (server, _) = services.database_url.rsplit_once('/').unwrap();
    let nothing = format!("{server}/nothing_of_this_name");
    let common = [
        ("JWT_SECRET", SECRET),
        ("LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "off"),
        ("KAFKA_TOPIC_PREFIX", prefix.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", &*services.brokers),
    ];
    for service in ["projector", "command-api", "query-api", "doctor", "migrate"] {
        let said = complaint(&[service], &[&common[..], &[("DATABASE_URL", &nothing)]].concat());
        assert!(said.contains("\"nothing_of_this_name\" does not exist"), "{said}");
        assert_eq!(said.matches("does not exist").count(), 1, "{said}");
        assert!(!said.contains("at line") && !said.contains("error returned from"), "{said}");
    }
    let away = [("DATABASE_URL", &*services.database_url), ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let said = complaint(&["doctor"], &[&common[..4], &away[..]].concat());
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert_eq!(said.matches("the log is not available").count(), 1, "{said}");
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
    // Standard output is no terminal, so the line has no token but the command that makes one.
    assert!(line.contains("balcony token") && !line.contains("eyJ"), "{line}");
    let program = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("{line} --silent --show-error")])
        // As in a shell that has no settings, whatever the tests have.
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 201"), "{line}: {answer}");
}

#[test]
fn a_token_stands_alone_on_standard_output() {
    let token = |arguments: &[&str]| {
        let output = run(&[&["token", "--user", "Mia"], arguments].concat(), &[("JWT_SECRET", SECRET)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = token(&[]);
    assert_eq!(first.lines().count(), 1);
    assert_eq!(first.trim().split('.').count(), 3);
    token(&["--role", "admin", "--expires-in", "1h"]);
}

#[test]
fn where_there_is_no_installation_there_is_no_token_and_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    for path in [&data_dir, folder.path()] {
        let output = run(&["token", "--user", "Mia"], &[("DATA_DIR", &path.display().to_string())]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(stderr.contains("DATA_DIR") && stderr.contains("no installation"), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The arguments of the first process of `deployment`, as every user of the machine sees them.
fn arguments_of(deployment: &Deployment) -> String {
    std::fs::read_to_string(format!("/proc/{}/cmdline", deployment.processes[0].id())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_seen_by_their_owner_alone() {
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.retain(|(name, _)| *name != "JWT_SECRET");
    deployment.start("balcony", &["--jwt-secret", SECRET, "--rate-limit=off"]).await;
    let arguments = arguments_of(&deployment);
    assert!(!arguments.contains(SECRET) && arguments.contains("--rate-limit=off"), "{arguments}");
    deployment.admin().register_movie("Signed with the secret").await;

    let Kind::Embedded { data_dir } = &deployment.kind else { panic!("it is embedded") };
    assert_eq!((mode(data_dir), mode(&data_dir.join("read-models"))), (0o700, 0o700));
    let files = [data_dir.clone(), data_dir.join("read-models")].map(|folder| std::fs::read_dir(folder).unwrap());
    for entry in files.into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        // What is gone by now was SQLite's.
        if entry.file_type().unwrap().is_file() && path.exists() {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_may_stand_in_files_and_tokens_name_issuer_and_audience() {
    let mut deployment = Deployment::embedded_idle();
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    deployment.settings.retain(|(name, _)| *name != "JWT_SECRET");
    deployment.settings.push(("JWT_SECRET_FILE", file.display().to_string()));
    deployment.settings.push(("JWT_ISSUER", "https://id.example".into()));
    deployment.settings.push(("JWT_AUDIENCE", "comments".into()));
    deployment.start_all().await;

    // Signed with the secret, but by another issuer.
    assert_eq!(deployment.user("Mia").get("/v1/me").await.problem(401), [""; 0]);
    let output = deployment.command(&["token", "--user", "Mia"]).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let url = &deployment.process("balcony").url;
    let mia = Client::new(url, url, Some(token.trim().to_owned()));
    let id = mia.get("/v1/me").await.expect(StatusCode::OK).json()["id"].clone();
    assert_eq!(id, authority().user("Mia").to_string());
}
