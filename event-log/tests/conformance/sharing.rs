//! What every adapter has to do whose topics have several partitions.

use std::sync::{Arc, Mutex};

use balcony_event_log::{Incoming, Positions};

use crate::log_under_test::LogUnderTest;
use crate::reading::{Member, append, append_all, ends, numbered, payloads_by_key, read_to, within_patience};

pub(crate) async fn an_answer_to_an_assignment_that_was_revoked_starts_nothing(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.events.name)];
    let group = log.events.name.to_string();
    for key in 0..20 {
        append(&*opened, &log.events, &key.to_string(), "payload").await;
    }
    let mut first = opened.join(&group, &topics);
    let Ok(Incoming::Assigned(all)) = within_patience(first.next()).await else { panic!("an assignment comes first") };
    assert_eq!(all.len(), 3);
    // It does not answer, and still lets a second member in.
    let places = Mutex::new(Positions::new());
    let mut second = Member::new(opened.join(&group, &topics));
    let shared = second.run_until(&places, |member| !member.assigned.is_empty());
    let revoked = async {
        let Ok(Incoming::Revoked(revoked)) = within_patience(first.next()).await else { panic!("it is revoked") };
        assert_eq!(revoked.len(), 3);
        let Ok(Incoming::Assigned(rest)) = within_patience(first.next()).await else { panic!("it is assigned anew") };
        rest
    };
    let (rest, ()) = tokio::join!(revoked, shared);
    assert!(rest.len() < 3);
    let to = ends(&*opened, &log.events).await;
    // The late answer says: at the end. Only the second, from the beginning, counts.
    first.start(to.clone());
    first.start(Positions::new());
    let mine = to.into_iter().filter(|(partition, _)| rest.contains(partition));
    let mine: Positions = mine.map(|(partition, next_offset)| (partition.clone(), next_offset)).collect();
    let read = read_to(&mut first, &Positions::new(), &mine).await;
    let expected: i64 = mine.into_iter().map(|(_, end)| end).sum();
    assert_eq!(i64::try_from(read.len()).expect("it is small"), expected);
}

pub(crate) async fn a_busy_member_stays_in_its_group_and_gives_up_partitions(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.events.name)];
    let group = log.events.name.to_string();
    let mut writers = tokio::task::JoinSet::new();
    for key in 0..24 {
        let (opened, events) = (Arc::clone(&opened), log.events.clone());
        writers.spawn(async move {
            let padded = numbered(1_000).map(|number| format!("{number:>1000}"));
            append_all(&*opened, &events, &key.to_string(), padded).await;
        });
    }
    within_patience(writers.join_all()).await;
    let places = Mutex::new(Positions::new());
    let mut busy = Member::new(opened.join(&group, &topics));
    busy.run_until(&places, |member| !member.read.is_empty()).await;
    // From here on it takes nothing, and its reader is full.
    let mut idle = Member::new(opened.join(&group, &topics));
    idle.run_until(&places, |member| !member.assigned.is_empty()).await;
    assert!(idle.assigned.len() < 3, "the busy member has kept its share");
    within_patience(busy.reader.close()).await;
    let to = ends(&*opened, &log.events).await;
    idle.run_until(&places, |_| places.lock().expect("nobody panics with it").covers(&to)).await;
    busy.read.extend(idle.read);
    let by_key = payloads_by_key(&busy.read);
    assert_eq!(by_key.len(), 24);
    assert!(by_key.values().all(|payloads| payloads.len() == 1_000), "nothing is read twice or missed");
}
