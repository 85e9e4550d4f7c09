//! What stands in the log again has no effect.

use balcony_projector::Start;

use crate::world::{Answer, Receiver, World, until};

pub(crate) async fn an_event_that_stands_in_the_log_again_is_delivered_once(world: World) {
    let process = world.process().await;
    for (source, id, event) in [
        ("s", "1", "a:1"),
        ("s", "2", "held:2"),
        ("s", "3", "refused:3"),
        ("s", "1", "a:1"),
        ("s", "2", "held:2"),
        ("s", "3", "refused:3"),
        ("other", "1", "a:of another source"),
        ("s", "4", "4"),
        ("s", "4", "4"),
    ] {
        process.append_as(source, id, event).await;
    }
    let receiver = Receiver::new(|event, _| match event {
        "held:2" => Answer::Hold,
        "refused:3" => Answer::Refuse,
        _ => Answer::Take,
    });
    let projector = process.start(&receiver, Start::Beginning);
    receiver.has_taken(3).await;
    until("one is parked", async || process.parked().await.len() == 1).await;

    // It crashes while one is under way. That it was met is written down, and it is delivered all the same.
    drop(projector);
    let projector = process.start(&receiver, Start::Beginning);
    process.append_as("s", "2", "held:2").await;
    receiver.open_gate();
    process.caught_up().await;
    projector.stop().await;
    let all = || {
        let mut events = receiver.events();
        events.sort();
        events
    };
    assert_eq!(all(), ["4", "a:1", "a:of another source", "held:2"]);

    // Nor does a process that comes later deliver again what was delivered or parked before.
    let projector = process.start(&receiver, Start::Beginning);
    for (id, event) in [("1", "a:1"), ("2", "held:2"), ("3", "refused:3"), ("4", "4"), ("5", "5")] {
        process.append_as("s", id, event).await;
    }
    process.caught_up().await;
    projector.stop().await;
    assert_eq!(all(), ["4", "5", "a:1", "a:of another source", "held:2"]);
    assert_eq!(process.parked().await.len(), 1);

    // What was made by a version that remembered nothing opens.
    let mut tx = process.writer().await.begin().await.unwrap();
    tx.execute("DROP TABLE met_events", &[]).await.unwrap();
    tx.commit().await.unwrap();
    let projector = process.start(&receiver, Start::Beginning);
    for _ in 0..2 {
        process.append_as("s", "6", "6").await;
    }
    process.caught_up().await;
    assert_eq!(all(), ["4", "5", "6", "a:1", "a:of another source", "held:2"]);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_known_in_whatever_partition_it_stands() {
    let Some(world) = World::distributed(3).await else { return };
    let process = world.process().await;
    let receiver = Receiver::new(|_, _| Answer::Take);
    let projector = process.start(&receiver, Start::Beginning);
    for key in 0..9 {
        process.append_as("s", "1", &format!("k{key}:0")).await;
        process.caught_up().await;
    }
    assert_eq!(receiver.events(), ["k0:0"]);
    projector.stop().await;
}
