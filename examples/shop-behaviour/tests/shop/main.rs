//! The shop from outside: the program itself, on the whole file, killed and started again.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod running;
mod whole;

use std::collections::BTreeSet;

use balcony_test_support::Services;

use crate::running::Shop;
use crate::whole::{HEAD, whole};

/// Kills the program again and again while it publishes the whole file, and lets it come to the end.
async fn killed_again_and_again(mut shop: Shop) {
    let whole = whole();
    shop.file(&whole.text);
    // A month in some ten seconds, so that each is in the middle.
    for enough in [1_000, 4_000, 7_000] {
        let running = shop.spawn(&["--speedup", "250000"]);
        let appended = shop.appended(enough).await;
        assert!(appended < whole.rows, "{appended}");
        running.kill();
    }
    let running = shop.start(&["--speedup", "0"]).await;
    running.counted(whole.rows).await;
    running.assert_counts(&whole).await;
    running.terminate();
    // Nothing is left to do.
    let running = shop.start(&["--speedup", "0"]).await;
    running.published().await;
    running.assert_counts(&whole).await;
    let (records, ids) = shop.in_log("actions").await;
    assert_eq!(ids.len() as u64, whole.rows);
    // Where an answer was lost with the process, a row may stand there twice.
    assert!(records >= ids.len() && (!shop.is_embedded() || records == ids.len()), "{records}");
    assert_eq!(shop.in_log("refused").await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_the_whole_file_counts_once_however_often_it_is_killed() {
    killed_again_and_again(Shop::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distributed_the_whole_file_counts_once_however_often_it_is_killed() {
    let Some(services) = Services::shared() else { return };
    killed_again_and_again(Shop::distributed(&services).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_one_node_after_another_dies_and_nothing_is_lost_or_counted_twice() {
    let Some(services) = Services::cluster() else { return };
    let whole = whole();
    let mut shop = Shop::distributed(&services).await;
    shop.file(&whole.text);
    // Some fifty rows a second, for three minutes.
    let running = shop.start(&["--speedup", "15000"]).await;
    services.in_sync().await;
    let before = shop.appended(100).await;
    services.kill("kafka-1");
    // Two nodes are enough.
    shop.appended(before + 300).await;
    services.restart("kafka-1");
    services.in_sync().await;
    services.kill("kafka-2");
    let during = shop.appended(before + 600).await;
    assert!(during < whole.rows, "{during}");
    // The rest is not waited for at its own pace.
    running.kill();
    let running = shop.start(&["--speedup", "0"]).await;
    running.counted(whole.rows).await;
    running.published().await;
    running.assert_counts(&whole).await;
    assert_eq!(shop.in_log("actions").await.1.len() as u64, whole.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_tells_nothing_is_named_and_set_aside_once_and_a_negative_price_counts() {
    let good =
        |second: u32, kind: &str, price: &str| format!("2020-01-01 00:00:{second:02} UTC,{kind},7,8,,x,{price},9,s");
    let lines = [
        HEAD.to_owned(),
        good(1, "view", "-7.94"),
        good(2, "view", "9.99"),
        "2020-01-01,view,7,8,,x,1.00,9,s".to_owned(),
        good(3, "view", "10"),
        good(4, "wish", "1.00"),
        good(5, "purchase", "1.005"),
        "2020-01-01 00:00:06 UTC,view,7,8,,x,1.00,,s".to_owned(),
        "too,few".to_owned(),
        "\u{fffd}".repeat(9_000),
        good(7, "cart", "49.99"),
        good(8, "purchase", "50.0"),
    ];
    let mut shop = Shop::embedded();
    shop.file(&[lines.join("\r\n").as_bytes(), b"\r\n\xff,\r\n"].concat());
    for _ in 0..2 {
        let running = shop.start(&["--speedup", "0"]).await;
        running.published().await;
        running.counted(5).await;
        let all = &running.points("prices", "window=1d").await[0];
        assert_eq!((&all["sum"], &all["min"], &all["max"]), (&112.04.into(), &(-7.94).into(), &50.0.into()));
        let mut views = BTreeSet::new();
        for point in running.points("ranges", "dimension=view&window=1m").await {
            views.insert((point["value"].as_str().unwrap().to_owned(), point["count"].as_u64().unwrap()));
        }
        assert_eq!(views, [("0-10", 1), ("10-20", 1), ("below 0", 1)].map(|(range, n)| (range.to_owned(), n)).into());
        let named = |number: u32| running.log().contains(&format!("line {number} "));
        let is_first = running.log().contains("is set aside");
        for number in [4, 6, 7, 8, 9, 10, 13] {
            assert_eq!(named(number), is_first, "{number}: {}", running.log());
        }
        assert!(!named(2) && !named(5));
        running.terminate();
    }
    let (records, ids) = shop.in_log("refused").await;
    assert_eq!((records, ids.len()), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_published_by_itself_up_to_a_limit_and_goes_on_from_there() {
    let shop = Shop::embedded();
    let running = shop.start(&["--speedup", "0", "--limit", "50"]).await;
    running.published().await;
    assert_eq!(running.counted(50).await, 50);
    running.terminate();
    let running = shop.start(&["--speedup", "0"]).await;
    running.published().await;
    assert_eq!(running.counted(200).await, 200);
    assert!(running.page().await.contains("What happens in the shop"));
}

#[test]
fn what_is_no_log_of_a_shop_is_refused_at_the_start() {
    for (text, said) in [("", "is empty"), ("event_time,event_type,price", "names no column user_id")] {
        let mut shop = Shop::embedded();
        shop.file(text.as_bytes());
        let output = shop.command(&[]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
    let output = Shop::embedded().command(&["--speedup", "-1"]).output().unwrap();
    assert!(!output.status.success());
}
