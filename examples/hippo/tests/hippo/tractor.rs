//! The tractor: what a step has had is done again on demand.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::Hippo;

const CONFIG: &str = r#"
[[frontier]]
name = "arrivals"
directory = "in"

[[step]]
name = "count"
subscribe = ["frontier-adw"]
publish = "counts"
command = ["sh", "-c", "echo $HIPPO_MESSAGE"]

[[step]]
name = "copy"
subscribe = ["counts"]
command = ["cat"]
"#;

fn jobs(finishes: &[Value]) -> BTreeSet<String> {
    finishes.iter().map(|finish| finish["job_id"].to_string()).collect()
}

#[tokio::test]
async fn messages_are_hauled_again_under_new_job_ids_from_an_offset_or_a_time() {
    for mut hippo in Hippo::everywhere(CONFIG).await {
        hippo.write("in/a", "");
        hippo.start();
        let first = hippo.finished("copy", 1).await;
        let time = first[0]["finish_time"].as_str().unwrap().to_owned();
        hippo.write("in/b", "");
        let before = hippo.finished("copy", 2).await;

        let hauled = hippo.run(&["tractor", "--step", "count", "--from", "0"]);
        assert_eq!(String::from_utf8(hauled.stdout).unwrap(), "2 messages are started again for count\n");
        let after = hippo.finished("copy", 4).await;
        assert_eq!((jobs(&before).len(), jobs(&after).len()), (2, 4), "each has an id of its own");
        assert!(jobs(&before).is_subset(&jobs(&after)));
        let printed = hippo.printed("count");
        assert_eq!((&printed[0], &printed[2]), (&printed[1], &printed[3]), "the same messages, as they stood first");

        let hauled = hippo.run(&["tractor", "--step", "count", "--from", &time]);
        assert_eq!(String::from_utf8(hauled.stdout).unwrap(), "1 messages are started again for count\n");
        hippo.finished("copy", 5).await;
        hippo.stop();
        assert_eq!((hippo.finishes("count").len(), hippo.finishes("copy").len()), (5, 5));
    }
}

#[tokio::test]
async fn a_wish_that_is_granted_twice_starts_each_message_once() {
    let mut hippo = Hippo::embedded(CONFIG);
    hippo.write("in/a", "");
    hippo.start();
    hippo.finished("copy", 1).await;
    let wish = |step: &str, id: u128| {
        let id = uuid::Uuid::from_u128(id);
        hippo.write(&format!("data/tractor/{id}.new"), &json!({"step": step, "from": "0", "id": id}).to_string());
        let path = |kind: &str| hippo.path(&format!("data/tractor/{id}.{kind}"));
        std::fs::rename(path("new"), path("json")).unwrap();
        path("done")
    };
    // As after a hippo that was killed before it had put the wish away.
    for _ in 0..2 {
        let done = wish("count", 1);
        // It is put away last, and another under its name would go with it.
        let is_put_away = || !done.with_extension("json").exists();
        hippo.eventually("the wish is granted", || is_put_away().then(|| std::fs::remove_file(&done).unwrap())).await;
    }
    // What comes behind both has ended.
    wish("count", 2);
    hippo.finished("copy", 3).await;
    hippo.stop();
    assert_eq!((hippo.messages("hippo-haul").len(), hippo.finishes("count").len()), (3, 3));
    assert_eq!(jobs(&hippo.finishes("count")).len(), 3);
}

#[tokio::test]
async fn what_cannot_be_hauled_is_said() {
    let hippo = Hippo::embedded(CONFIG);
    for (step, from, said) in [("other", "0", "--step: "), ("count", "yesterday", "--from: ")] {
        let refused = hippo.run(&["tractor", "--step", step, "--from", from]);
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && complaint.contains(said), "{complaint}");
    }
}
