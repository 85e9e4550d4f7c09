//! Commands: what they get, how they end, and what is left of them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_job::{Ended, Environment, Job, LAST_OF_STDERR, MOST_PRINTED};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn job<'j>(command: &'j [String], folder: &'j Path) -> Job<'j> {
    let mut environment = Environment::new();
    environment.set("GREETING", "hello");
    Job { command, folder, environment, timeout: PATIENCE, note: folder.join("notes/note") }
}

async fn run(script: &str, input: &[u8]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let ended = job(&sh(script), folder.path()).run(input).await;
    assert!(!folder.path().join("notes/note").exists());
    ended
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until none of these processes is alive.
async fn gone(pids: &[String]) {
    assert!(pids.iter().all(|pid| !pid.is_empty()));
    eventually("they are gone", PATIENCE, async || (!pids.iter().any(|pid| is_alive(pid))).then_some(())).await;
}

#[tokio::test]
async fn a_command_gets_its_input_and_environment_and_nothing_else() {
    let ended =
        run("cat; echo; echo $GREETING; env | cut -d= -f1 | sort | grep -v '^_$\\|PWD\\|SHLVL'; echo late >&2", b"in")
            .await;
    assert_eq!((ended.failure, ended.stderr), (None, b"late\n".to_vec()));
    let printed = String::from_utf8(ended.stdout).unwrap();
    let (first, variables) = printed.split_once("GREETING\n").unwrap();
    assert_eq!(first, "in\nhello\n");
    let known = balcony_job::PASSED_ON;
    assert!(variables.lines().all(|name| known.contains(&name)), "{variables}");
}

#[tokio::test]
async fn a_command_may_leave_its_input_unread() {
    let ended = run("exec true", &vec![0; 1 << 20]).await;
    assert_eq!(ended.failure, None);
}

#[tokio::test]
async fn a_failure_says_why_and_what_was_printed() {
    let ended = run("echo half; echo why >&2; exit 3", b"").await;
    assert_eq!(ended.failure.as_deref(), Some("exit status: 3"));
    assert_eq!((ended.stdout, ended.stderr), (b"half\n".to_vec(), b"why\n".to_vec()));
    assert_eq!(run("kill -9 $$", b"").await.failure.as_deref(), Some("signal: 9 (SIGKILL)"));
    let folder = tempfile::tempdir().unwrap();
    let missing = ["./missing".to_owned()];
    let failure = job(&missing, folder.path()).run(b"").await.failure.unwrap();
    assert!(failure.starts_with("./missing cannot be started: "), "{failure}");
}

#[tokio::test]
async fn output_is_bounded() {
    let ended = run("yes", b"").await;
    assert_eq!(ended.failure, Some(format!("it printed more than {MOST_PRINTED} bytes")));
    assert_eq!(ended.stdout.len(), MOST_PRINTED);
    let ended = run("yes | head -c 100000 >&2; echo end >&2", b"").await;
    assert_eq!((ended.failure, ended.stderr.len()), (None, LAST_OF_STDERR));
    assert!(ended.stderr.ends_with(b"y\nend\n"));
}

const FAMILY: &str = "sh -c 'sleep 1000 & echo $! >grandchild; wait' & echo $! >child; \
    while ! test -s grandchild; do sleep 0.01; done; ";

#[tokio::test]
async fn a_time_limit_leaves_nobody_alive() {
    let (folder, script) = (tempfile::tempdir().unwrap(), sh(&format!("{FAMILY} wait")));
    let late = Job { timeout: Duration::from_secs(2), ..job(&script, folder.path()) };
    assert_eq!(late.run(b"").await.failure.as_deref(), Some("it took longer than 2s"));
    gone(&["child", "grandchild"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap())).await;
}

#[tokio::test]
async fn an_end_leaves_nobody_alive_and_waits_for_nobody() {
    let (folder, script) = (tempfile::tempdir().unwrap(), sh(&format!("{FAMILY} echo done")));
    let ended = job(&script, folder.path()).run(b"").await;
    assert_eq!((ended.failure, ended.stdout), (None, b"done\n".to_vec()));
    gone(&["child", "grandchild"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap())).await;
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_nobody_alive() {
    let (folder, script) = (tempfile::tempdir().unwrap(), sh(&format!("{FAMILY} touch ready; wait")));
    let ready = async || folder.path().join("ready").exists().then_some(());
    tokio::select! {
        ended = job(&script, folder.path()).run(b"") => panic!("{ended:?}"),
        () = eventually("it runs", PATIENCE, ready) => {}
    }
    gone(&["child", "grandchild"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap())).await;
}

#[tokio::test]
async fn what_was_left_running_is_killed_before_it_runs_again_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("notes/note");
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    let script = sh("true");
    let sleeper = || {
        let mut command = std::process::Command::new("sleep");
        std::os::unix::process::CommandExt::process_group(&mut command, 0).arg("1000").spawn().unwrap()
    };
    let mut left = sleeper();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.id())).unwrap();
    let begun = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    std::fs::write(&note, format!("{} {begun}", left.id())).unwrap();
    assert_eq!(job(&script, folder.path()).run(b"").await.failure, None);
    assert!(!left.wait().unwrap().success());

    // The number is another's by now.
    let mut other = sleeper();
    std::fs::write(&note, format!("{} {}", other.id(), begun.len())).unwrap();
    assert_eq!(job(&script, folder.path()).run(b"").await.failure, None);
    assert!(is_alive(&other.id().to_string()));
    other.kill().unwrap();
    other.wait().unwrap();
}
