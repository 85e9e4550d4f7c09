//! Steps chain: a reactor splits lines into words, a projection counts the words.

use std::collections::BTreeMap;
use std::sync::Arc;

use balcony_event_log::{Headers, Message, Record};
use balcony_projector::{
    Decode, Delivery, DeliveryPolicy, Projection, Projector, Publisher, ReactError, Reactor, Received, Start,
};
use balcony_store::{ReadModel, StoreError, Tx};
use uuid::Uuid;

use crate::world::{Receiver, Text, World, until};

/// Publishes each word of a line under the word as its key.
struct Splitter {
    topics: [Arc<str>; 1],
    words: Arc<str>,
}

struct Word {
    id: Uuid,
    word: String,
}

/// Counts each word that has an id of its own.
struct Counter {
    model: ReadModel,
}

impl Reactor for Splitter {
    type Event = Text;

    fn name(&self) -> &str {
        "splitter"
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        Start::Beginning
    }

    fn policy(&self) -> DeliveryPolicy {
        Receiver::new(|_, _| unreachable!()).policy
    }

    /// Fails after some of the words at the first attempt, and after all of them at the second.
    async fn react(&self, delivery: &Delivery<Text>, publisher: &Publisher) -> Result<(), ReactError> {
        let words: Vec<&str> = delivery.event.0.split_whitespace().collect();
        let published = if delivery.attempt == 1 { words.len() / 2 } else { words.len() };
        for word in &words[..published] {
            let mut headers = Headers::new();
            headers.push("ce_id", b"in place of this it gets its own");
            let message = Message { key: (*word).into(), headers, payload: (*word).into() };
            publisher.publish(&self.words, message).await?;
        }
        if delivery.attempt < 3 { Err(ReactError::Retry("not yet".to_owned())) } else { Ok(()) }
    }
}

impl Decode for Word {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| error.to_string());
        let id = text(record.headers.get("ce_id").ok_or("it has no id")?)?;
        Ok(Some(Self { id: id.parse().map_err(|_| format!("{id:?} is no id"))?, word: text(&record.payload)? }))
    }
}

impl Projection for Counter {
    type Event = Word;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Word>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<_> = events.iter().map(|word| [word.id.into(), word.word.as_str().into()]).collect();
        tx.insert_new("words", &["id"], ["id", "word"], &rows).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_counted_once_though_they_are_published_more_often() {
    let world = World::embedded();
    check(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_counted_once_on_many_partitions() {
    let Some(world) = World::distributed(3).await else { return };
    check(world).await;
}

async fn check(world: World) {
    let lines = ["to be or not to be", "that is the question", "be", "to to to"];
    // The second of each line repeats nothing: it is another event.
    let process = world.process_with(lines.iter().chain(&lines)).await;
    let mut projector = Projector::new(process.log.clone(), process.database.clone(), format!("{}.", world.topic.name));
    projector.start_reactor(Splitter { topics: [world.topic.name.clone()], words: world.words.name.clone() });
    let schema = "CREATE TABLE words (id UUID NOT NULL PRIMARY KEY, word TEXT NOT NULL);";
    let model = ReadModel::new("words", 1, [world.words.name.clone()], schema);
    projector.start(Counter { model: model.clone() });

    let ends = process.ends().await;
    let splitter = async || process.database.generations(Some("splitter")).await.unwrap().pop();
    until("the splitter is there", async || splitter().await.is_some()).await;
    let writer = process.database.writer(&splitter().await.unwrap().generation);
    until("every line is split", async || writer.snapshot().await.unwrap().checkpoints().await.unwrap().covers(&ends))
        .await;
    let ends = process.log.ends(std::slice::from_ref(&world.words.name)).await.unwrap();
    let reader = balcony_store::Reader::open(&process.database, vec![model.clone()]).await;
    until("every word is counted", async || {
        reader.wait_for(&model, &ends, tokio::time::Instant::now()).await.unwrap_or(false)
    })
    .await;

    let counts: Vec<(String, i64)> = reader.fetch("SELECT word, COUNT(*) FROM words GROUP BY word", &[]).await.unwrap();
    let mut expected = BTreeMap::new();
    for word in lines.iter().chain(&lines).flat_map(|line| line.split_whitespace()) {
        *expected.entry(word.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_iter().collect::<BTreeMap<_, _>>(), expected);
    projector.stop().await;
}
