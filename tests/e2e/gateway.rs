//! Another program beside Balcony: hippo takes the comments from Balcony's log, tags them, and shows the tags beside what
//! Balcony's query API says of their author.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_test_support::{Running, Services};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deployment::{BINARY, Deployment, Kind, SECRET, root};

const PATIENCE: Duration = Duration::from_secs(60);

/// A hippo that tags the comments of an installation. Fields are dropped in order: the process first.
struct Hippo {
    process: Running,
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    /// Its own database, beside Balcony's.
    _database: Option<balcony_store::Scratch>,
}

impl Hippo {
    /// The example's configuration, as it is but for where Balcony is. `None` where the program was not built.
    async fn beside(deployment: &Deployment) -> Option<Self> {
        let program = program()?;
        let tags = fs::read_to_string(root().join("examples/hippo/tags.toml")).unwrap();
        let demo = root().join("examples/hippo/demo").display().to_string();
        let tags =
            tags.replace("http://127.0.0.1:8080", &deployment.nobody().queries).replace("\"demo", &format!("\"{demo}"));
        let folder = tempfile::tempdir().unwrap();
        let mut settings = vec![("DATA_DIR", folder.path().join("data").display().to_string())];
        let (tags, database) = match &deployment.kind {
            Kind::Embedded { data_dir } => (tags.replace("../../balcony-data", &data_dir.display().to_string()), None),
            Kind::Distributed { prefix, .. } => {
                let installed = Services::shared()?.installation().await;
                settings.extend(installed.settings);
                let lines = tags.lines().filter(|line| !line.starts_with("data_dir")).collect::<Vec<_>>().join("\n");
                (
                    lines
                        .replace("\"balcony.", &format!("\"{prefix}"))
                        .replace(&format!("\"{prefix}comment.posted"), "\"balcony.comment.posted"),
                    Some(installed.database),
                )
            }
        };
        fs::write(folder.path().join("tags.toml"), tags).unwrap();
        let process = start(&program, folder.path(), &settings);
        Some(Self { process, folder, settings, _database: database })
    }

    /// Ends it with -9 and starts it again.
    fn restart(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        self.process = start(&program().unwrap(), self.folder.path(), &self.settings);
    }

    /// What it answers, once it is what `meant` makes something of.
    async fn eventually<T>(&self, path: &str, meant: impl Fn(&Value) -> Option<T>) -> T {
        let client = reqwest::Client::new();
        eventually(path, PATIENCE, async || {
            let log = fs::read_to_string(self.folder.path().join("stderr")).ok()?;
            let (_, address) = log.rsplit_once("\"address\":\"")?;
            let url = format!("http://{}{path}", address.split_once('"')?.0);
            let answer = client.get(url).send().await.ok()?.error_for_status().ok()?;
            meant(&answer.json().await.ok()?)
        })
        .await
    }
}

/// The program, which is built with all others of the workspace; without it the test is left out, unless `CI` is set.
fn program() -> Option<PathBuf> {
    let program = Path::new(BINARY).with_file_name("hippo");
    if program.is_file() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "in CI {} has to be built", program.display());
    // Past the test harness, which keeps the output of tests that pass.
    let _ = writeln!(std::io::stderr(), "left out: the test that wants hippo, which cargo build -p hippo builds");
    None
}

fn start(program: &Path, folder: &Path, settings: &[(&'static str, String)]) -> Running {
    let log = File::options().create(true).append(true).open(folder.join("stderr")).unwrap();
    let mut command = Command::new(program);
    command.args(["--config", "tags.toml"]).current_dir(folder).env_clear();
    command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.env("LISTEN", "127.0.0.1:0").env("JWT_SECRET", SECRET);
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

pub async fn tags_of_comments_are_shown_beside_what_balcony_knows(deployment: Deployment) {
    let Some(mut hippo) = Hippo::beside(&deployment).await else { return };
    let movie = deployment.admin().register_movie("Seven Samurai").await.id();
    let mia = deployment.user("Mia");
    let english = mia.comment(&movie, "I loved the music. Great!").await;
    let jonas = deployment.user("Jonas").comment(&movie, "Boring").await;
    let author = mia.having_seen(&english).get(&english.header("location")).await.expect(StatusCode::OK);
    let author = author.json()["author"]["id"].as_str().unwrap().to_owned();
    let tags_of = |id: &str| format!("/v1/comments/{id}/tags");
    hippo.eventually(&tags_of(&english.id()), |_| Some(())).await;

    hippo.restart();
    let japanese = deployment.user("Mia").comment(&movie, "結末は退屈で、音楽もひどい。").await;
    let user = hippo
        .eventually(&format!("/v1/users/{author}"), |user| {
            let entries =
                user["journey"]["items"].as_array()?.iter().filter(|one| one["type"] == "comment.posted").count();
            (user["scores"].as_array()?.len() == 2 && entries == 2).then(|| user.clone())
        })
        .await;
    let tagged = |id: String, language, score, tags: &[&str]| json!({"comment_id": id, "author_id": author, "language": language, "score": score, "tags": tags});
    let english = tagged(english.id(), "en", 4, &["music", "praise"]);
    let japanese = tagged(japanese.id(), "ja", -5, &["criticism", "ending", "music"]);
    assert_eq!((&user["profile"]["display_name"], &user["score"]), (&json!("Mia"), &json!(-1)), "{user}");
    assert_eq!(user["tags"], json!({"criticism": 1, "ending": 1, "music": 2, "praise": 1}));
    assert_eq!(user["scores"], json!([japanese, english]));
    // As the query API itself answers.
    let client = deployment.nobody();
    let profile = client.get(&format!("/v1/users/{author}")).await.expect(StatusCode::OK).json();
    assert_eq!(user["profile"], profile);
    let other = hippo.eventually(&tags_of(&jonas.id()), |tags| Some(tags.clone())).await;
    assert_eq!((&other["score"], &other["tags"]), (&json!(-2), &json!(["criticism"])));
}
