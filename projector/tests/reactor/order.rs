//! Whatever fails, and however often: the order within a key, and a frontier that passes nothing undone.

use std::collections::{BTreeMap, BTreeSet};

use balcony_projector::Start;
use proptest::prelude::*;

use crate::world::{Answer, Receiver, World, until};

/// An event's key, and how often it fails before it is taken; the last of these is refused for good.
type Event = (u8, u32);

const REFUSED: u32 = 4;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_of_failures_keeps_the_order_and_the_frontier(
        events in proptest::collection::vec((0..6_u8, prop_oneof![5 => Just(0), 5 => 1..REFUSED, 1 => Just(REFUSED)]), 1..60),
        in_flight in 1..8_usize,
        window in 1..40_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(events, in_flight, window));
    }
}

async fn check(events: Vec<Event>, in_flight: usize, window: usize) {
    let texts: Vec<String> = events.iter().enumerate().map(|(n, (key, _))| text(n, *key)).collect();
    let failures: BTreeMap<String, u32> =
        texts.iter().cloned().zip(events.iter().map(|(_, failures)| *failures)).collect();
    let answering = move |event: &str, attempt| match failures[event] {
        REFUSED => Answer::Refuse,
        failures if attempt <= failures => Answer::Retry,
        _ => Answer::Take,
    };
    let receiver = Receiver::with_policy(answering, |policy| (policy.in_flight, policy.window) = (in_flight, window));

    let world = World::embedded();
    let process = world.process_with(&texts).await;
    let projector = process.start(&receiver, Start::Beginning);
    let ends = process.ends().await;
    let base = ends.next_offset(&process.partition()) - texts.len() as i64;
    until("everything is done", async || {
        let frontier = process.checkpoints().await;
        let done: BTreeSet<String> =
            receiver.events().into_iter().chain(process.parked().await.into_iter().map(|(event, _)| event)).collect();
        let passed = usize::try_from(frontier.next_offset(&process.partition()) - base).unwrap_or(0);
        for text in &texts[..passed] {
            assert!(done.contains(text), "the frontier passed {text}");
        }
        frontier.covers(&ends)
    })
    .await;

    let (mut taken, mut parked) = (BTreeMap::<u8, Vec<String>>::new(), BTreeSet::new());
    let mut blocked = BTreeSet::new();
    for ((key, failures), text) in events.iter().zip(&texts) {
        if *failures == REFUSED || blocked.contains(key) {
            parked.insert(text.clone());
            // Without a key nothing waits.
            blocked.extend((*key != 0).then_some(*key));
        } else {
            taken.entry(*key).or_default().push(text.clone());
        }
    }
    let mut found = BTreeMap::<u8, Vec<String>>::new();
    for event in receiver.events() {
        let key = event.split_once(':').map_or(0, |(key, _)| key.parse().unwrap());
        found.entry(key).or_default().push(event);
    }
    for without_key in [&mut taken, &mut found] {
        without_key.entry(0).or_default().sort();
    }
    assert_eq!(found, taken);
    assert_eq!(process.parked().await.into_iter().map(|(event, _)| event).collect::<BTreeSet<_>>(), parked);
    assert_eq!(receiver.overlaps(), 0, "of a key one is delivered at a time");
    projector.stop().await;
}

fn text(n: usize, key: u8) -> String {
    if key == 0 { n.to_string() } else { format!("{key}:{n}") }
}
