//! What becomes of a reactor's parked records that are retried or discarded, beside a running worker.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_projector::{Outcome, ParkedDeliveries, RetryError, Start};
use balcony_store::StoreError;
use uuid::Uuid;

use crate::world::{Answer, Process, Receiver, World, until};

async fn hold(process: &Process, receiver: &Arc<Receiver>) -> Result<ParkedDeliveries, RetryError> {
    let reactor = process.reactor(receiver, Start::Beginning);
    ParkedDeliveries::hold(&reactor, &process.database, process.log.clone(), true).await
}

async fn events(process: &Process) -> Vec<String> {
    process.parked().await.into_iter().map(|(event, _)| event).collect()
}

pub(crate) async fn a_retry_delivers_the_key_in_order_under_its_ids_and_the_worker_goes_on_with_it(world: World) {
    let process = world.process().await;
    // What is taken and never answered has had its effect, under its id, and is parked all the same.
    let answering = |event: &str, _| if matches!(event, "a:1" | "x") { Answer::TakeAndHold } else { Answer::Take };
    let receiver = Receiver::with_policy(answering, |policy| {
        (policy.attempts, policy.patience) = (2, Duration::from_millis(20));
    });
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["a:1", "a:2", "a:3", "x"]).await;
    until("all are parked", async || process.parked().await.len() == 4).await;
    assert_eq!(receiver.taken().len(), 4, "two attempts at each of two");

    let parked = hold(&process, &receiver).await.unwrap();
    let first = process.parked_id("a:1").await;
    let outcome = parked.retry(process.parked_id("a:3").await).await.unwrap();
    assert_eq!((outcome.applied, outcome.refused[0].id, outcome.refused[0].waiting), (0, first, 2));
    assert_eq!(process.parked().await[0].1, "it took longer than 20ms");
    assert_eq!(receiver.taken().len(), 5, "one attempt");

    receiver.open_gate();
    let outcome = parked.retry(process.parked_id("a:3").await).await.unwrap();
    assert_eq!(outcome, Outcome { applied: 3, ..Outcome::default() });
    assert_eq!(parked.retry(process.parked_id("x").await).await.unwrap().applied, 1);
    assert_eq!(receiver.events()[5..], ["a:1", "a:2", "a:3", "x"]);
    assert!(events(&process).await.is_empty());
    drop(parked);

    process.append(["a:4", "a:5"]).await;
    process.caught_up().await;
    assert_eq!(receiver.events()[9..], ["a:4", "a:5"]);
    receiver.check_ids();
    projector.stop().await;
}

pub(crate) async fn what_waited_behind_a_discarded_record_is_delivered(world: World) {
    let process = world.process().await;
    let refuses = |event: &str, _| if matches!(event, "a:1" | "a:3" | "y") { Answer::Refuse } else { Answer::Take };
    let receiver = Receiver::new(refuses);
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["a:1", "a:2", "a:3", "a:4", "y"]).await;
    until("all are parked", async || process.parked().await.len() == 5).await;

    let parked = hold(&process, &receiver).await.unwrap();
    let (first, third) = (process.parked_id("a:1").await, process.parked_id("a:3").await);
    let outcome = parked.discard(&[process.parked_id("a:2").await]).await.unwrap();
    assert_eq!((outcome.discarded, outcome.applied), (1, 0), "the others wait behind another");
    let outcome = parked.discard(&[first, first]).await.unwrap();
    assert_eq!(
        (outcome.discarded, outcome.applied, outcome.refused[0].id, outcome.refused[0].waiting),
        (1, 0, third, 1)
    );
    assert_eq!(parked.discard(&[third]).await.unwrap(), Outcome { applied: 1, discarded: 1, refused: vec![] });
    assert_eq!(receiver.events(), ["a:4"]);
    assert!(matches!(parked.retry(first).await, Err(RetryError::Discarded(_))));
    assert!(matches!(parked.retry(Uuid::nil()).await, Err(RetryError::Unknown { .. })));
    assert_eq!(parked.discard_all().await.unwrap(), 1, "y");
    drop(parked);
    process.append(["a:5"]).await;
    process.caught_up().await;
    assert_eq!(receiver.events(), ["a:4", "a:5"]);
    projector.stop().await;
}

pub(crate) async fn a_reactor_forgets_what_an_operator_gives_up_before_it_is_given_up(world: World) {
    const MANY: usize = 230;
    let process = world.process().await;
    let receiver = Receiver::new(|_, _| Answer::Refuse);
    let projector = process.start(&receiver, Start::Beginning);
    process.append((0..MANY).map(|number| format!("{number}:"))).await;
    until("all are parked", async || process.parked().await.len() == MANY).await;

    let parked = hold(&process, &receiver).await.unwrap();
    let first = process.parked_id("0:").await;
    receiver.forgets.store(false, Ordering::Relaxed);
    for refused in [parked.discard(&[first]).await.map(drop), parked.discard_all().await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, RetryError::NotGivenUp { reason, .. } if reason == "not now"), "{error}");
    }
    assert_eq!(process.parked().await.len(), MANY);
    receiver.forgets.store(true, Ordering::Relaxed);
    assert_eq!(parked.discard(&[first, first]).await.unwrap().discarded, 1);
    assert_eq!(receiver.given_up().len(), 1);
    assert_eq!(parked.discard_all().await.unwrap(), MANY as u64 - 1);
    let given_up: HashSet<Uuid> = receiver.given_up().into_iter().collect();
    let left = process.writer().await.snapshot().await.unwrap().parked_count().await.unwrap();
    assert_eq!((given_up.len(), left), (MANY, 0));
    projector.stop().await;
}

pub(crate) async fn what_an_operator_delivered_is_not_repeated_after_a_restart(world: World) {
    let process = world.process().await;
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let receiver = Receiver::new(move |event, _| match event {
        "slow:0" => Answer::Hold,
        "a:1" if !is_mended.load(Ordering::Relaxed) => Answer::Refuse,
        _ => Answer::Take,
    });
    let projector = process.start(&receiver, Start::Beginning);
    process.append(["slow:0", "a:1"]).await;
    until("one is parked, above the checkpoint", async || process.parked().await.len() == 1).await;

    mended.store(true, Ordering::Relaxed);
    let parked = hold(&process, &receiver).await.unwrap();
    assert_eq!(parked.retry(process.parked_id("a:1").await).await.unwrap().applied, 1);
    drop(parked);
    // It crashes, and begins again at the checkpoint.
    drop(projector);
    let projector = process.start(&receiver, Start::Beginning);
    receiver.open_gate();
    process.append(["a:2"]).await;
    process.caught_up().await;
    assert_eq!((receiver.attempts("a:1"), receiver.attempts("a:2")), (2, 1));
    assert!(events(&process).await.is_empty());
    projector.stop().await;
}

pub(crate) async fn whatever_operators_retry_meanwhile_the_order_stays(world: World) {
    const EVENTS: usize = 200;
    let process = world.process().await;
    let asked: Mutex<HashMap<String, u32>> = Mutex::default();
    // Every seventh is refused twice.
    let receiver = Receiver::new(move |event, _| {
        let number: usize = event.split_once(':').unwrap().1.parse().unwrap();
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(event.to_owned()).or_default();
        *times += 1;
        if number.is_multiple_of(7) && *times <= 2 { Answer::Refuse } else { Answer::Take }
    });
    let projector = process.start(&receiver, Start::Beginning);
    let text = |n: usize| format!("{}:{n}", n % 5);
    let appending = async {
        for from in (0..EVENTS).step_by(10) {
            process.append((from..from + 10).map(text)).await;
        }
    };
    let has_moved = async || {
        let parked = process.writer().await.snapshot().await.unwrap().parked_count().await.unwrap();
        parked > 0 || receiver.taken().len() == EVENTS
    };
    let retrying = async {
        while receiver.taken().len() < EVENTS {
            let parked = process.writer().await.snapshot().await.unwrap().parked().await.unwrap();
            match parked.first() {
                Some(record) => {
                    let held = hold(&process, &receiver).await.unwrap();
                    held.retry(record.id).await.unwrap();
                }
                None => until("more is delivered or parked", async || has_moved().await).await,
            }
        }
    };
    let both = async { tokio::join!(appending, retrying) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("everything is delivered");
    process.caught_up().await;

    assert!(events(&process).await.is_empty());
    assert_eq!(receiver.overlaps(), 0, "one of each key at a time");
    let mut by_key: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for event in receiver.events() {
        let (key, number) = event.split_once(':').unwrap();
        by_key.entry(key.parse().unwrap()).or_default().push(number.parse().unwrap());
    }
    for (key, numbers) in by_key {
        assert_eq!(numbers, (0..EVENTS).filter(|n| n % 5 == key).collect::<Vec<_>>(), "of {key}");
    }
    projector.stop().await;
}

pub(crate) async fn one_operator_at_a_time_holds_what_is_parked(world: World) {
    let process = world.process().await;
    let receiver = Receiver::new(|_, _| Answer::Take);
    let never_started = hold(&process, &receiver).await;
    assert!(matches!(never_started, Err(RetryError::Store(StoreError::NotReady(_)))));
    let projector = process.start(&receiver, Start::Beginning);
    process.writer().await;
    let held = hold(&process, &receiver).await.unwrap();
    assert!(matches!(hold(&process, &receiver).await, Err(RetryError::Busy(_))));
    drop(held);
    assert!(hold(&process, &receiver).await.is_ok());
    projector.stop().await;
}
