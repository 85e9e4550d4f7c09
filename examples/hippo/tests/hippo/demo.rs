//! The demo on its sample: from files through a shell, Python and Perl.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::world::{Hippo, package};

#[test]
fn each_command_of_the_demo_prints_what_its_sample_says() {
    let partition = json!([{"name": "file", "value": "demo/shop/orders/dt=2026-11-01/orders.csv"}]);
    for (program, script, sample) in [
        ("sh", "clean.sh", "clean"),
        ("python3", "totals.py", "totals"),
        ("perl", "report.pl", "report"),
        ("python3", "tag.py", "tag"),
        ("python3", "tag.py", "tag-en"),
    ] {
        let read = |kind: &str| std::fs::read(package().join(format!("demo/samples/{sample}.{kind}"))).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("demo/{script}")).current_dir(package()).env("MESSAGE_PARTITION", partition.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&read("in")).unwrap();
        let printed = child.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), String::from_utf8(read("out")).unwrap(), "{sample}");
    }
}

#[tokio::test]
async fn the_demo_gives_the_exact_result_although_it_is_killed_in_the_middle() {
    let config = std::fs::read_to_string(package().join("hippo.toml")).unwrap();
    for mut hippo in Hippo::everywhere(&config).await {
        hippo.start();
        hippo.finished("clean", 1).await;
        hippo.kill();
        hippo.start();
        hippo.finished("report", 2).await;
        // A file that comes while it runs, and one that changes.
        hippo.write("demo/shop/orders/dt=2026-11-03/late.csv", "9,tea,1,4.50\n");
        hippo.write("demo/shop/orders/dt=2026-11-02/orders.csv", "6,kettle,2,30.00\n");
        hippo.finished("report", 4).await;
        hippo.kill();
        hippo.start();
        hippo.write("demo/shop/orders/dt=2026-11-04/last.csv", "10,cup,1,12.00\n");
        hippo.finished("report", 5).await;
        hippo.stop();

        let first = "cup        3    36.00\ntea        3    13.50\n";
        let second = "kettle     1    30.00\ntea        4    18.00\n";
        let (changed, late) = ("kettle     2    60.00\n", "tea        1     4.50\n");
        let last = "cup        1    12.00\n";
        assert_eq!(hippo.printed("report"), [last, first, second, changed, late]);
        let announced = hippo.messages("frontier-adw");
        let files = |method: &str| announced.iter().filter(|one| one["method"] == method).count();
        assert_eq!((files("insert"), files("update")), (4, 1));
        let one = announced.iter().find(|one| one["method"] == "update").unwrap();
        let file = "demo/shop/orders/dt=2026-11-02/orders.csv";
        let partition = json!([{"name": "dt", "value": "2026-11-02"}, {"name": "file", "value": file}]);
        assert_eq!((&one["db"], &one["table"], &one["partition"]), (&json!("shop"), &json!("orders"), &partition));
        assert_eq!(one["exec_date"].as_str().unwrap().len(), "2026-11-02".len());
        for step in ["clean", "totals", "report"] {
            let mut jobs: Vec<_> = hippo.finishes(step).iter().map(|finish| finish["job_id"].to_string()).collect();
            jobs.sort();
            jobs.dedup();
            assert_eq!((jobs.len(), hippo.finishes(step).len()), (5, 5), "{step}: each file once");
        }
    }
}
