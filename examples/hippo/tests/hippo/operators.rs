//! What operators see and do: the page, the jobs, doctor.

use balcony_event_log::testing::eventually;
use serde_json::Value;

use crate::world::{Hippo, PATIENCE};

const CONFIG: &str = r#"
[[frontier]]
name = "arrivals"
directory = "in"

[[step]]
name = "read"
subscribe = ["frontier-adw"]
publish = "read"
command = ["sh", "-c", "echo out; echo err >&2; test $HIPPO_KEY = arrivals/good"]
"#;

#[tokio::test]
async fn the_page_has_every_step_and_admins_see_what_jobs_have_printed() {
    let mut hippo = Hippo::embedded(CONFIG);
    hippo.write("in/good", "");
    hippo.write("in/bad", "");
    hippo.start();
    hippo.finished("read", 2).await;
    // The page may be a little behind the log.
    eventually("the page has both jobs", PATIENCE, async || {
        let page = hippo.ask("/", None).await.1;
        page.contains("<td>read</td><td>frontier-adw</td><td>read</td><td>1</td><td>1</td>").then_some(())
    })
    .await;
    assert_eq!((hippo.ask("/v1/jobs", None).await.0, hippo.ask("/v1/jobs", Some("user")).await.0), (401, 403));
    let jobs = hippo.ask("/v1/jobs?step=read&limit=1", Some("admin")).await.1;
    let jobs: Vec<Value> = serde_json::from_str(&jobs).unwrap();
    assert_eq!(
        (jobs.len(), &jobs[0]["output"]["stdout"], &jobs[0]["output"]["stderr"]),
        (1, &"out\n".into(), &"err\n".into())
    );
    let none = hippo.ask("/v1/jobs?step=other", Some("admin")).await.1;
    assert_eq!(none, "[]");
    assert!(hippo.ask("/control", None).await.1.contains("<html"));
    hippo.stop();
}

#[tokio::test]
async fn doctor_knows_frontiers_and_steps_and_starts_again_what_died() {
    let mut hippo = Hippo::embedded(CONFIG);
    hippo.write("in/.hidden", "");
    hippo.start();
    let all = [("arrivals", "intake"), ("jobs", "projection"), ("read", "reactor"), ("tractor", "intake")];
    let well = hippo.eventually("all are well", || {
        let said = hippo.run(&["doctor", "--json"]);
        let diagnosis: Value = serde_json::from_slice(&said.stdout).ok()?;
        let steps = diagnosis["projections"].as_array().unwrap().clone();
        let is_there = |name, kind| steps.iter().any(|step| step["name"] == name && step["kind"] == kind);
        (said.status.success() && all.iter().all(|&(name, kind)| is_there(name, kind))).then_some(())
    });
    well.await;
    std::fs::remove_dir_all(hippo.path("in")).unwrap();
    let ill = hippo.eventually("a frontier is ill", || {
        let said = hippo.run(&["doctor"]);
        (!said.status.success()).then(|| String::from_utf8(said.stdout).unwrap())
    });
    assert!(ill.await.contains("arrivals: it fails and is started again by itself: "));
    hippo.write("in/good", "");
    hippo.finished("read", 1).await;

    hippo.kill();
    let said = hippo.run(&["doctor"]);
    let complaint = String::from_utf8(said.stderr).unwrap();
    let process = complaint.split("started hippo again as process ").nth(1).unwrap_or_else(|| panic!("{complaint}"));
    let process: String = process.chars().take_while(char::is_ascii_digit).collect();
    hippo.adopt(&process);
    hippo.write("in/other", "");
    hippo.finished("read", 2).await;
    let again = hippo.run(&["doctor"]);
    assert!(!String::from_utf8(again.stderr).unwrap().contains("again"), "it lives");
}
