use balcony_store::{Before, Database, KeyedRequest, Scratch, Uuid};
use futures_util::future::join_all;

on_both! {
    a_request_is_begun_once_whoever_asks
    a_request_that_was_done_has_its_answer_and_one_that_was_not_is_new
    what_was_asked_a_month_ago_is_forgotten
}

const NOON: i64 = 1_790_000_000_000;
const DAY: i64 = 24 * 3_600_000;

fn request(id: u128, said: &str, at: i64) -> KeyedRequest {
    KeyedRequest { id: Uuid::from_u128(id), said: said.to_owned(), at }
}

async fn a_request_is_begun_once_whoever_asks(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let at_once = join_all((0..8).map(|_| {
        let database = database.clone();
        async move { database.begin_request(&request(1, "tea", NOON)).await.unwrap() }
    }));
    let found = at_once.await;
    assert_eq!(found.iter().filter(|before| **before == Before::Nothing).count(), 1, "{found:?}");
    assert_eq!(found.iter().filter(|before| **before == Before::Begun(NOON)).count(), 7, "{found:?}");
    assert_eq!(database.begin_request(&request(1, "coffee", NOON)).await.unwrap(), Before::Another);
    assert_eq!(database.begin_request(&request(2, "coffee", NOON)).await.unwrap(), Before::Nothing);
}

async fn a_request_that_was_done_has_its_answer_and_one_that_was_not_is_new(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let [tea, coffee] = [request(1, "tea", NOON), request(2, "coffee", NOON)];
    database.begin_request(&tea).await.unwrap();
    database.begin_request(&coffee).await.unwrap();
    database.end_request(tea.id, "hot").await.unwrap();
    database.forget_request(tea.id).await.unwrap();
    database.forget_request(coffee.id).await.unwrap();
    drop(database);
    let again = Database::open(scratch.settings()).await.unwrap();
    assert_eq!(again.begin_request(&tea).await.unwrap(), Before::Done("hot".to_owned()));
    assert_eq!(again.begin_request(&request(1, "coffee", NOON)).await.unwrap(), Before::Another);
    assert_eq!(again.begin_request(&coffee).await.unwrap(), Before::Nothing);
}

async fn what_was_asked_a_month_ago_is_forgotten(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    database.begin_request(&request(1, "tea", NOON)).await.unwrap();
    database.end_request(Uuid::from_u128(1), "hot").await.unwrap();
    let begun = database.begin_request(&request(1, "tea", NOON + 30 * DAY)).await.unwrap();
    assert_eq!(begun, Before::Done("hot".to_owned()));
    assert_eq!(database.begin_request(&request(1, "coffee", NOON + 31 * DAY)).await.unwrap(), Before::Nothing);
}
