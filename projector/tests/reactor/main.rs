//! What the runtime promises a reactor, on the embedded log and SQLite and, where the services are there, on Kafka and
//! PostgreSQL.

#![allow(clippy::unwrap_used)]

mod chain;
mod order;
mod parked;
mod repeats;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_projector::{DeliveryPolicy, Kind, ParkedDeliveries, Start, State};

use crate::parked::*;
use crate::repeats::*;
use crate::world::{Answer, Receiver, World, until};

/// Runs each test on both deployments.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::$test(crate::World::embedded()).await;
            })*
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(world) = crate::World::distributed(1).await else { return };
                crate::$test(world).await;
            })*
        }
    };
}

on_both! {
    a_clean_stop_and_a_restart_repeat_nothing
    what_has_begun_at_the_end_is_waited_for_and_what_waits_is_left
    the_end_waits_for_no_longer_than_the_grace
    whoever_starts_now_gets_no_history_not_even_later
    a_crash_repeats_only_what_was_not_written_down
    an_event_that_stands_in_the_log_again_is_delivered_once
    what_is_put_off_takes_nobodys_place_and_is_tried_again_by_itself
    what_is_put_off_for_too_long_is_given_up
    what_is_refused_is_parked_with_what_follows_of_its_key
    whoever_was_taken_over_moves_no_frontier
    a_retry_delivers_the_key_in_order_under_its_ids_and_the_worker_goes_on_with_it
    what_waited_behind_a_discarded_record_is_delivered
    a_reactor_forgets_what_an_operator_gives_up_before_it_is_given_up
    what_an_operator_delivered_is_not_repeated_after_a_restart
    whatever_operators_retry_meanwhile_the_order_stays
    one_operator_at_a_time_holds_what_is_parked
}

/// Events `from..to` of some keys, and some without.
fn events(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| if n % 4 == 0 { format!("{n}") } else { format!("k{}:{n}", n % 7) }).collect()
}

async fn a_clean_stop_and_a_restart_repeat_nothing(world: World) {
    let process = world.process_with(events(0, 200)).await;
    let receiver = Receiver::new(|event, _| if event == "k5:5" { Answer::Hold } else { Answer::Take });
    let projector = process.start(&receiver, Start::Beginning);
    // All but one and what is behind it: 12, 19, 26, … of its key, unless they have none.
    let behind = (6..200).filter(|n| n % 7 == 5 && n % 4 != 0).count();
    receiver.has_taken(199 - behind).await;
    assert_eq!(projector.states()[0].kind, Kind::Reactor);
    // Told to stop it takes no further event of that key, and lets this one end.
    tokio::join!(projector.stop(), async { receiver.open_gate() });
    assert!(receiver.events().contains(&"k5:5".to_owned()));

    drop(process);
    let process = world.process_with(events(200, 210)).await;
    let projector = process.start(&receiver, Start::Beginning);
    process.caught_up().await;
    let mut taken = receiver.events();
    taken.sort();
    let mut expected = events(0, 210);
    expected.sort();
    assert_eq!(taken, expected);
    receiver.check_ids();
    projector.stop().await;
}

async fn what_has_begun_at_the_end_is_waited_for_and_what_waits_is_left(world: World) {
    let process = world.process_with(["a:1", "b:2", "b:3"]).await;
    let answering = |event: &str, _| if event == "a:1" { Answer::Hold } else { Answer::HoldUntilTheEnd };
    let receiver = Receiver::with_policy(answering, |policy| policy.grace = Duration::from_secs(60));
    let projector = process.start(&receiver, Start::Beginning);
    until("both are under way", async || receiver.attempts("a:1") + receiver.attempts("b:2") == 2).await;
    tokio::join!(projector.stop(), async {
        receiver.is_ending().await;
        until("the other has given up", async || !receiver.is_busy("b")).await;
        receiver.open_gate();
    });
    assert_eq!(receiver.events(), ["a:1"]);

    let projector = process.start(&receiver, Start::Beginning);
    process.caught_up().await;
    assert_eq!(receiver.events(), ["a:1", "b:2", "b:3"]);
    projector.stop().await;
}

async fn the_end_waits_for_no_longer_than_the_grace(world: World) {
    let process = world.process_with(["a:1", "2"]).await;
    let answering = |event: &str, _| if event == "a:1" { Answer::Hold } else { Answer::Take };
    let receiver = Receiver::with_policy(answering, |policy| policy.grace = Duration::from_millis(10));
    let projector = process.start(&receiver, Start::Beginning);
    receiver.has_taken(1).await;
    projector.stop().await;
    receiver.open_gate();
    let projector = process.start(&receiver, Start::Beginning);
    process.caught_up().await;
    assert_eq!(receiver.events(), ["2", "a:1"]);
    projector.stop().await;
}

async fn whoever_starts_now_gets_no_history_not_even_later(world: World) {
    let process = world.process_with(events(0, 30)).await;
    let start = process.ends().await;
    let receiver = Receiver::new(|_, _| Answer::Take);
    let projector = process.start(&receiver, Start::Now);
    until("the start is written down", async || !process.checkpoints().await.is_empty()).await;
    assert_eq!(process.checkpoints().await, start);
    process.append(["a:30", "31"]).await;
    receiver.has_taken(2).await;
    process.caught_up().await;
    // It crashes, and what comes meanwhile is not missed.
    drop(projector);
    drop(process);
    let process = world.process_with(["a:32"]).await;
    let projector = process.start(&receiver, Start::Now);
    receiver.has_taken(3).await;
    process.caught_up().await;
    projector.stop().await;
    // Nor does it ask again where to start.
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["b:33"]).await;
    receiver.has_taken(4).await;
    process.caught_up().await;
    let taken: BTreeSet<_> = receiver.events().into_iter().collect();
    assert_eq!(taken, ["a:30", "31", "a:32", "b:33"].map(str::to_owned).into());
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reactor_starts_where_it_is_told() {
    let world = World::embedded();
    let process = world.process_with(events(0, 10)).await;
    let first = process.ends().await.next_offset(&process.partition()) - 3;
    let start: Positions = [(process.partition(), first)].into_iter().collect();
    let receiver = Receiver::new(|_, _| Answer::Take);
    let projector = process.start(&receiver, Start::At(start));
    process.caught_up().await;
    assert_eq!(receiver.taken().iter().map(|taken| taken.offset).min(), Some(first));
    assert_eq!(receiver.taken().len(), 3);
    projector.stop().await;
}

async fn a_crash_repeats_only_what_was_not_written_down(world: World) {
    let process = world.process_with(events(0, 40)).await;
    process.append(["slow:40", "slow:41", "sent:42"]).await;
    process.append(events(43, 100)).await;
    let receiver = Receiver::new(|event, _| match event {
        "slow:40" => Answer::Hold,
        "sent:42" => Answer::TakeAndHold,
        _ => Answer::Take,
    });
    let projector = process.start(&receiver, Start::Beginning);
    receiver.has_taken(98).await;
    until("the rest is written down above the frontier", async || process.ahead().await == 57).await;
    let offset_of = |event: &str| receiver.taken().iter().find(|taken| taken.event == event).unwrap().offset;
    let frontier: Positions = [(process.partition(), offset_of("sent:42") - 2)].into_iter().collect();
    assert_eq!(process.checkpoints().await, frontier);

    drop(projector);
    let projector = process.start(&receiver, Start::Beginning);
    // The receiver has it twice, under one id.
    receiver.has_taken(99).await;
    assert_eq!(receiver.attempts("sent:42"), 2);
    receiver.open_gate();
    process.caught_up().await;
    let taken = receiver.events();
    for event in events(0, 40).iter().chain(&events(43, 100)).map(String::as_str).chain(["slow:40", "slow:41"]) {
        assert_eq!(taken.iter().filter(|taken| *taken == event).count(), 1, "{event}");
    }
    receiver.check_ids();
    assert_eq!(process.ahead().await, 0, "what is below the frontier is forgotten");
    projector.stop().await;
}

async fn what_is_refused_is_parked_with_what_follows_of_its_key(world: World) {
    let process = world.process().await;
    let receiver = Receiver::new(|event, _| match event {
        "slow:1" => Answer::Hold,
        "a:2" => Answer::Refuse,
        "b:4" => Answer::Retry,
        "6" => Answer::Panic,
        _ => Answer::Take,
    });
    let projector = process.start(&receiver, Start::Beginning);
    let refused = ["a:2", "b:4", "6", "c:broken"];
    let behind = ["a:3", "b:5"];
    let not_events = ["d:newer", "unwanted:broken"];
    process.append(["slow:1", "a:2", "a:3", "b:4", "b:5", "6", "c:broken", "d:newer", "unwanted:broken", "7"]).await;
    until("six are parked", async || process.parked().await.len() == 6).await;
    receiver.has_taken(1).await;
    assert_eq!(receiver.events(), ["7"]);
    let parked = process.parked().await;
    let expected = [
        ("a:2", "never"),
        ("a:3", "waits behind an earlier record of its key that is parked"),
        ("b:4", "not now (5 attempts)"),
        ("b:5", "waits behind an earlier record of its key that is parked"),
        ("6", "it panicked; the message is in the log (5 attempts)"),
        ("c:broken", "it is broken"),
    ];
    assert_eq!(parked, expected.map(|(event, error)| (event.to_owned(), error.to_owned())));
    until("the state says so", async || projector.states()[0].parked == 6).await;

    // A crash while the frontier is held below them delivers none of them again, and later ones still wait.
    drop(projector);
    receiver.open_gate();
    let attempts = refused.map(|event| receiver.attempts(event));
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["a:8", "c:9", "d:10"]).await;
    process.caught_up().await;
    assert_eq!(refused.map(|event| receiver.attempts(event)), attempts);
    assert_eq!(behind.map(|event| receiver.attempts(event)), [0, 0]);
    assert_eq!(not_events.map(|event| receiver.attempts(event)), [0, 0]);
    let parked: Vec<_> = process.parked().await.into_iter().map(|(event, _)| event).collect();
    assert_eq!(parked, ["a:2", "a:3", "b:4", "b:5", "6", "c:broken", "a:8", "c:9"]);
    let taken: BTreeSet<_> = receiver.events().into_iter().collect();
    assert_eq!(taken, ["slow:1", "7", "d:10"].map(str::to_owned).into());
    let state = &projector.states()[0];
    assert_eq!((state.state, state.parked), (State::Running, 8));
    projector.stop().await;
}

/// Puts off what is of a key that begins with "later".
fn puts_off(change: impl FnOnce(&mut DeliveryPolicy)) -> Arc<Receiver> {
    let answering = |event: &str, _| if event.starts_with("later") { Answer::LaterWhileClosed } else { Answer::Take };
    Receiver::with_policy(answering, |policy| {
        policy.again_every = Duration::from_millis(20);
        change(policy);
    })
}

async fn what_is_put_off_takes_nobodys_place_and_is_tried_again_by_itself(world: World) {
    let process = world.process().await;
    let receiver = puts_off(|policy| policy.window = 5);
    let projector = process.start(&receiver, Start::Beginning);
    // More than have room in the window, and one that waits behind one of them.
    process.append((0..120).map(|n| format!("later{n}:0"))).await;
    process.append(["later7:1"]).await;
    process.append((0..20).map(|n| format!("k{n}:0"))).await;
    receiver.has_taken(20).await;
    process.caught_up().await;
    let parked = process.parked().await;
    assert_eq!(parked.len(), 121);
    let of = |event: &str| parked.iter().find(|parked| parked.0 == event).unwrap().1.clone();
    assert_eq!(of("later0:0"), "some other day; it is tried again by itself");
    assert_eq!(of("later7:1"), "waits behind an earlier record of its key that is parked");
    until("it is tried again, in vain", async || receiver.attempts("later0:0") > 2).await;
    assert_eq!(projector.states()[0].state, State::Running);

    // A crash changes nothing about it.
    drop(projector);
    let projector = process.start(&receiver, Start::Beginning);
    receiver.open_gate();
    until("nothing is parked", async || process.parked().await.is_empty()).await;
    // What was being tried at the crash may have been taken without that being noted.
    let events = receiver.events();
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), 141);
    let at = |event: &str| events.iter().position(|taken| taken == event).unwrap();
    assert!(at("later7:0") < at("later7:1"));
    receiver.check_ids();
    let mut tx = process.writer().await.snapshot().await.unwrap();
    let left: Vec<(i64,)> = tx.fetch("SELECT COUNT(*) FROM tried_again", &[]).await.unwrap();
    assert_eq!(left, [(0,)]);
    drop(tx);
    projector.stop().await;
}

async fn what_is_put_off_for_too_long_is_given_up(world: World) {
    let process = world.process().await;
    let receiver = puts_off(|policy| policy.again_for = Duration::from_millis(200));
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["later:0"]).await;
    let is_tried = async || {
        let mut tx = process.writer().await.snapshot().await.unwrap();
        let rows: Result<Vec<(i64,)>, _> = tx.fetch("SELECT COUNT(*) FROM tried_again", &[]).await;
        rows.is_ok_and(|rows| rows[0].0 == 1)
    };
    until("it is parked", async || process.parked().await.len() == 1).await;
    until("it is given up", async || !is_tried().await).await;
    receiver.open_gate();
    let reactor = process.reactor(&receiver, Start::Beginning);
    let parked = ParkedDeliveries::hold(&reactor, &process.database, process.log.clone(), true).await.unwrap();
    assert_eq!(parked.retry(process.parked_id("later:0").await).await.unwrap().applied, 1);
    assert_eq!(receiver.events(), ["later:0"]);
    drop(parked);
    projector.stop().await;
}

async fn whoever_was_taken_over_moves_no_frontier(world: World) {
    let process = world.process_with(["slow:0", "a:1"]).await;
    let receiver = Receiver::new(|event, _| if event == "slow:0" { Answer::Hold } else { Answer::Take });
    let projector = process.start(&receiver, Start::Beginning);
    receiver.has_taken(1).await;
    let mut tx = process.writer().await.begin().await.unwrap();
    let claim = tx.claim(&[process.partition()]).await.unwrap();
    tx.commit().await.unwrap();

    // Its next commit fails: it claims the partition anew, and goes on from where that stands.
    receiver.open_gate();
    receiver.has_taken(3).await;
    process.caught_up().await;
    let state = &projector.states()[0];
    assert!(state.last_error.as_ref().unwrap().contains("taken over"), "{state:?}");
    assert_eq!(receiver.events().iter().filter(|event| *event == "slow:0").count(), 2);
    receiver.check_ids();
    let mut tx = process.writer().await.begin().await.unwrap();
    assert!(tx.advance(&claim, &claim.positions()).await.is_err(), "now the other one is the zombie");
    drop(tx);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_retried_keys_hold_back_nobody_else() {
    let world = World::embedded();
    let process = world.process_with(["slow:0"]).await;
    // More keys are retried than may be in flight.
    process.append((0..20).map(|n| format!("retried{n}:0"))).await;
    process.append((0..300).map(|n| format!("k{n}:0"))).await;
    let answering = |event: &str, _| match event {
        "slow:0" => Answer::Hold,
        event if event.starts_with("retried") => Answer::RetryWhileClosed,
        _ => Answer::Take,
    };
    let receiver = Receiver::with_policy(answering, |policy| (policy.in_flight, policy.attempts) = (2, u32::MAX));
    let projector = process.start(&receiver, Start::Beginning);
    receiver.has_taken(300).await;
    assert!(process.checkpoints().await.next_offset(&process.partition()) <= receiver.taken()[0].offset - 21);
    receiver.open_gate();
    process.caught_up().await;
    assert_eq!(receiver.taken().len(), 321);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_read_than_the_window_holds() {
    let world = World::embedded();
    let process = world.process_with(events(0, 100)).await;
    let receiver = Receiver::with_policy(
        |event, _| if event == "k3:3" { Answer::Hold } else { Answer::Take },
        |policy| policy.window = 5,
    );
    let projector = process.start(&receiver, Start::Beginning);
    // Three before it, and four beside it.
    receiver.has_taken(7).await;
    let first = receiver.taken().iter().map(|taken| taken.offset).min().unwrap();
    let frontier: Positions = [(process.partition(), first + 3)].into_iter().collect();
    until("the frontier stands at the slow one", async || process.checkpoints().await == frontier).await;
    until("the rest is written down", async || process.ahead().await == 4).await;
    assert_eq!(receiver.taken().len(), 7);
    receiver.open_gate();
    process.caught_up().await;
    assert_eq!(receiver.taken().len(), 100);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_recipient_refuses_for_good_stops_nobody() {
    let world = World::embedded();
    // More in a row than may fail, and more than half of all.
    let process = world.process_with((0..250).map(|n| format!("refused{n}:0"))).await;
    process.append((0..2_000).map(|n| if n % 3 == 0 { format!("k{n}:0") } else { format!("refused{n}:1") })).await;
    let answering = |event: &str, _| if event.starts_with("refused") { Answer::Refuse } else { Answer::Take };
    let receiver = Receiver::new(answering);
    let projector = process.start(&receiver, Start::Beginning);
    process.caught_up().await;
    assert_eq!((receiver.taken().len(), process.parked().await.len()), (667, 250 + 1_333));
    until("the state says so", async || projector.states()[0].parked == 1_583).await;
    assert_eq!(projector.states()[0].state, State::Running);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_in_a_row_that_fail_at_every_attempt_stop_the_reactor_and_say_what_to_do() {
    let world = World::embedded();
    let process = world.process_with((0..150).map(|n| format!("k{n}:0"))).await;
    let receiver = Receiver::new(|event, _| if event.len() % 2 == 0 { Answer::Retry } else { Answer::Panic });
    let projector = process.start(&receiver, Start::Beginning);
    until("it stops", async || projector.states()[0].state == State::Stopped).await;
    let error = projector.states()[0].last_error.clone().unwrap();
    assert!(error.contains("100 deliveries in a row") && error.contains("parked retry"), "{error}");
    // It is a reactor, to which that command does nothing.
    assert!(!error.contains("parked accept"), "{error}");
    assert_eq!(process.parked().await.len(), 100);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_partitions_and_hand_them_over() {
    let Some(world) = World::distributed(3).await else { return };
    let process = world.process_with(events(0, 300)).await;
    let receiver =
        Receiver::new(|event, attempt| if attempt == 1 && event.ends_with('3') { Answer::Retry } else { Answer::Take });
    let first = process.start(&receiver, Start::Beginning);
    receiver.has_taken(1).await;
    let other_process = world.process().await;
    let second = other_process.start(&receiver, Start::Beginning);
    for n in 0..30 {
        process.append(events(300 + 10 * n, 310 + 10 * n)).await;
    }
    until("both are at it", async || {
        process.append([format!("{}", uuid::Uuid::now_v7())]).await;
        [&first, &second].iter().all(|projector| projector.states()[0].events > 0)
    })
    .await;
    first.stop().await;
    process.append(events(600, 650)).await;
    process.caught_up().await;

    let taken = receiver.events();
    for event in events(0, 650) {
        assert!(taken.contains(&event), "{event} was never taken");
    }
    receiver.check_ids();
    // Whatever was repeated: each event of a key was first taken after the one before it.
    let mut first_taken = BTreeMap::<&str, Vec<usize>>::new();
    let mut seen = BTreeSet::new();
    for event in taken.iter().filter(|event| seen.insert(event.as_str())) {
        if let Some((key, number)) = event.split_once(':') {
            first_taken.entry(key).or_default().push(number.parse().unwrap());
        }
    }
    for (key, numbers) in first_taken {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    let partitions: Vec<TopicPartition> = process.checkpoints().await.partitions().cloned().collect();
    assert_eq!(partitions.len(), 3);
    second.stop().await;
}
