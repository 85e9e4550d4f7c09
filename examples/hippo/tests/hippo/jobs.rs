//! Jobs: how they start, how they end, and what is left of them.

use crate::world::{Hippo, is_alive};

/// A frontier, and a step that runs a shell script.
fn step(name: &str, subscribe: &str, publish: &str, more: &str, script: &str) -> String {
    format!(
        "[[step]]\nname = \"{name}\"\nsubscribe = [\"{subscribe}\"]\npublish = \"{publish}\"\n{more}\ncommand = [\"sh\", \
         \"-c\", '''{script}''']\n"
    )
}

/// Files that start something.
const FRONTIER: &str = "[[frontier]]\nname = \"arrivals\"\ndirectory = \"in\"\n";

#[tokio::test]
async fn a_command_gets_the_message_and_nothing_of_hippos_secrets() {
    let script = "cat; echo; env | grep -E '^(HIPPO|MESSAGE|HEADER)_' | sort; echo ${DATA_DIR:-none}";
    let mut hippo = Hippo::embedded(&[FRONTIER, &step("show", "frontier-adw", "shown", "port = 7\n", script)].concat());
    hippo.write("in/a=b/file", "");
    hippo.start();
    let finish = &hippo.finished("show", 1).await[0];
    let printed = &hippo.printed("show")[0];
    let mut lines = printed.lines();
    let message = hippo.messages("frontier-adw")[0].clone();
    assert_eq!(lines.next().unwrap(), message.to_string());
    let job = format!("HIPPO_JOB_ID={}", finish["job_id"].as_str().unwrap());
    for expected in [
        &job,
        "HIPPO_STEP=show",
        "HIPPO_HOST=127.0.0.1",
        "HIPPO_PORT=7",
        "HIPPO_KEY=arrivals/a=b/file",
        "HIPPO_MESSAGE=hippo.frontier-adw/0/0",
        "HEADER_CE_TYPE=hippo.announcement.v1",
        "MESSAGE_TABLE=in",
        "MESSAGE_METHOD=insert",
        r#"MESSAGE_PARTITION=[{"name":"a","value":"b"},{"name":"file","value":"in/a=b/file"}]"#,
        "none",
    ] {
        assert!(printed.lines().any(|line| line == expected), "{expected} in\n{printed}");
    }
    assert_eq!(finish["is_success"], true);
    let mut fields: Vec<_> = finish.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["duration_time", "finish_time", "hippo_name", "is_success", "job_id", "job_name"]);
    hippo.stop();
}

#[tokio::test]
async fn a_step_that_fails_does_not_start_the_next() {
    let config = [
        FRONTIER,
        &step("first", "frontier-adw", "firsts", "", "echo half; echo why >&2; case $HIPPO_KEY in *bad) exit 3;; esac"),
        &step("next", "firsts", "nexts", "", "cat"),
        "[[step]]\nname = \"missing\"\nsubscribe = [\"nexts\"]\ncommand = [\"./not-there\"]\n",
    ];
    for mut hippo in Hippo::everywhere(&config.concat()).await {
        hippo.write("in/bad", "");
        hippo.start();
        let failed = hippo.finished("first", 1).await;
        assert_eq!(failed[0]["is_success"], false);
        let output = &hippo.messages("hippo-output")[0];
        assert_eq!((&output["stdout"], &output["stderr"]), (&"half\n".into(), &"why\n".into()));
        assert_eq!(output["failure"], "exit status: 3");
        hippo.write("in/good", "");
        // What the good one started has ended: the bad one started nothing before it.
        let missing = hippo.finished("missing", 1).await;
        assert_eq!(missing[0]["is_success"], false);
        assert_eq!((hippo.finishes("first").len(), hippo.finishes("next").len()), (2, 1));
        assert_eq!(hippo.printed("next"), ["half"]);
        hippo.stop();
        assert_eq!((hippo.messages("firsts").len(), hippo.messages("nexts").len()), (1, 1));
    }
}

#[tokio::test]
async fn a_timeout_leaves_nobody_alive() {
    let script = "sh -c 'sleep 1000 & echo $! >grandchild; wait' & echo $! >child; echo begun; wait";
    let mut hippo =
        Hippo::embedded(&[FRONTIER, &step("slow", "frontier-adw", "slows", "timeout = 1", script)].concat());
    hippo.write("in/file", "");
    hippo.start();
    assert_eq!(hippo.finished("slow", 1).await[0]["is_success"], false);
    let output = &hippo.messages("hippo-output")[0];
    assert_eq!((&output["failure"], &output["stdout"]), (&"it took longer than 1s".into(), &"begun\n".into()));
    hippo
        .eventually("nobody alive", || {
            let (child, grandchild) = (hippo.read("child"), hippo.read("grandchild"));
            (!child.is_empty() && !is_alive(&child) && !is_alive(&grandchild)).then_some(())
        })
        .await;
    hippo.stop();
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_its_job_up() {
    let script = "sleep 1000 & echo $! >left; echo done";
    let mut hippo = Hippo::embedded(&[FRONTIER, &step("quick", "frontier-adw", "quicks", "", script)].concat());
    hippo.write("in/file", "");
    hippo.start();
    assert_eq!(hippo.finished("quick", 1).await[0]["is_success"], true);
    assert_eq!(hippo.printed("quick"), ["done\n"]);
    hippo.eventually("nobody alive", || (!is_alive(&hippo.read("left"))).then_some(())).await;
    hippo.stop();
}

#[tokio::test]
async fn a_command_that_prints_without_end_is_stopped() {
    let mut hippo = Hippo::embedded(&[FRONTIER, &step("loud", "frontier-adw", "louds", "", "yes")].concat());
    hippo.write("in/file", "");
    hippo.start();
    assert_eq!(hippo.finished("loud", 1).await[0]["is_success"], false);
    let output = &hippo.messages("hippo-output")[0];
    assert_eq!(output["failure"], "it printed more than 524288 bytes");
    assert!(output["stdout"].as_str().unwrap().len() <= 16 << 10);
    hippo.stop();
}

/// A first step that is quick, and a second that waits until it may go on.
fn held() -> String {
    let quick = step("quick", "frontier-adw", "quicks", "", "echo $HIPPO_JOB_ID >>quick.jobs");
    let script =
        "echo $HIPPO_JOB_ID >>held.jobs; sleep 1000 & echo $! >grandchild; while ! test -e go; do sleep 0.05; done";
    [FRONTIER, &quick, &step("held", "quicks", "helds", "", script)].concat()
}

#[tokio::test]
async fn a_restart_repeats_no_job_that_ended_and_forgets_none_that_was_under_way() {
    for mut hippo in Hippo::everywhere(&held()).await {
        hippo.write("in/file", "");
        hippo.start();
        hippo.finished("quick", 1).await;
        hippo.eventually("the held one runs", || Some(hippo.read("grandchild")).filter(|pid| !pid.is_empty())).await;
        let grandchild = hippo.read("grandchild");
        hippo.kill();
        assert!(is_alive(&grandchild), "nobody was there to end it");
        hippo.start();
        hippo.eventually("it runs again", || (hippo.read("held.jobs").lines().count() == 2).then_some(())).await;
        assert!(!is_alive(&grandchild), "what was left of it is ended first");
        hippo.write("go", "");
        let finishes = hippo.finished("held", 1).await;
        hippo.stop();
        let jobs = hippo.read("held.jobs");
        let jobs: Vec<_> = jobs.lines().collect();
        assert_eq!((jobs[0], jobs[0]), (jobs[1], finishes[0]["job_id"].as_str().unwrap()));
        assert_eq!(hippo.read("quick.jobs").lines().count(), 1);
        assert_eq!((hippo.finishes("quick").len(), hippo.finishes("held").len()), (1, 1));
    }
}

#[tokio::test]
async fn a_hippo_that_is_told_to_end_leaves_nobody_alive_and_goes_on_later() {
    let mut hippo = Hippo::embedded(&held());
    hippo.write("in/file", "");
    hippo.start();
    hippo.eventually("the held one runs", || Some(hippo.read("grandchild")).filter(|pid| !pid.is_empty())).await;
    let grandchild = hippo.read("grandchild");
    hippo.stop();
    assert!(!is_alive(&grandchild));
    assert!(hippo.finishes("held").is_empty());
    hippo.write("go", "");
    hippo.start();
    assert_eq!(hippo.finished("held", 1).await[0]["is_success"], true);
    hippo.stop();
}

#[tokio::test]
async fn a_step_runs_as_many_commands_at_once_as_it_may() {
    let script = "touch run.$HIPPO_JOB_ID; while test $(ls run.* | wc -l) -lt 3; do sleep 0.05; done";
    let several = step("several", "frontier-adw", "severals", "concurrency = 3", script);
    let mut hippo = Hippo::embedded(&[FRONTIER, &several].concat());
    for file in ["in/a", "in/b", "in/c"] {
        hippo.write(file, "");
    }
    hippo.start();
    // None ends before all three run.
    hippo.finished("several", 3).await;
    hippo.stop();
}
