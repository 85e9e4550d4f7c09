use std::sync::Arc;

use balcony_event_log::Message;
use futures_util::stream::{self, TryStreamExt as _};

use super::error::ReactError;
use super::publisher::Publisher;
use super::spec::{Delivery, Reactor, Start};
use crate::decode::Decode;

/// Messages about one event that are published at the same time.
const AT_ONCE: usize = 100;

/// A reactor that only transforms: it publishes to one topic what a function makes of each event.
///
/// The function depends on its event alone and gives its messages in the same order each time. An event may be delivered
/// again after a crash; its messages then stand in the topic again, under the ids that they had
/// ([`Publisher::publish`]), by which whoever reads them drops repeats.
///
/// ```
/// # use balcony_event_log::{Message, Record};
/// # use balcony_projector::{Catalogue, Decode, Start, Transform};
/// # struct Line(String);
/// # impl Decode for Line { fn decode(_: &Record) -> Result<Option<Self>, String> { Ok(None) } }
/// let message = |word: &str| Message { key: word.into(), payload: word.into(), ..Message::default() };
/// let words = move |line: &Line| line.0.split_whitespace().map(message).collect::<Vec<_>>();
/// let split = Transform::new("split", ["lines"], Start::Beginning, "words", words);
/// let steps = Catalogue::new().with_reactor(split);
/// # assert_eq!(steps.steps().len(), 1);
/// ```
pub struct Transform<E> {
    name: String,
    topics: Vec<Arc<str>>,
    start: Start,
    to: Arc<str>,
    messages: Box<Messages<E>>,
}

type Messages<E> = dyn Fn(&E) -> Vec<Message> + Send + Sync;

impl<E: Decode> Transform<E> {
    /// A reactor called `name` that reads `topics` from `start` and publishes `messages` of each event to the topic `to`.
    pub fn new<M: IntoIterator<Item = Message>>(
        name: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<Arc<str>>>,
        start: Start,
        to: impl Into<Arc<str>>,
        messages: impl Fn(&E) -> M + Send + Sync + 'static,
    ) -> Self {
        let topics = topics.into_iter().map(Into::into).collect();
        let messages = Box::new(move |event: &E| messages(event).into_iter().collect());
        Self { name: name.into(), topics, start, to: to.into(), messages }
    }
}

impl<E: Decode> Reactor for Transform<E> {
    type Event = E;

    fn name(&self) -> &str {
        &self.name
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn react(&self, delivery: &Delivery<E>, publisher: &Publisher) -> Result<(), ReactError> {
        let messages = stream::iter((self.messages)(&delivery.event).into_iter().map(Ok));
        let publish = |message| {
            // Called in the messages' order, which their ids go by.
            let published = publisher.publish(&self.to, message);
            async move { published.await.map(drop) }
        };
        messages.try_for_each_concurrent(AT_ONCE, publish).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use balcony_event_log::memory::{Clock, MemoryLog};
    use balcony_event_log::{EventLog, Incoming, Position, Positions, Record, Topic, TopicPartition};
    use uuid::Uuid;

    use super::*;

    struct Line(String);

    impl Decode for Line {
        fn decode(record: &Record) -> Result<Option<Self>, String> {
            Ok(Some(Self(String::from_utf8_lossy(&record.payload).into_owned())))
        }
    }

    #[tokio::test]
    async fn what_is_published_again_has_the_id_it_had() {
        let topic = Topic { name: "words".into(), partitions: 1, replication: 1, retention: None };
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new(&[topic], Clock::at(SystemTime::now())));
        let word = |word: &str| Message { payload: word.into(), ..Message::default() };
        let words = move |line: &Line| line.0.split_whitespace().map(word).collect::<Vec<_>>();
        let split = Transform::new("split", ["lines"], Start::Beginning, "words", words);
        let lines: Vec<String> = (0..300).map(|number| (number % 7).to_string()).collect();
        let id = Uuid::from_u128(1);
        for attempt in 1..=2 {
            let position = Position { partition: TopicPartition::new("lines", 0), offset: 0 };
            let delivery = Delivery { id, position, attempt, event: Line(lines.join(" ")) };
            split.react(&delivery, &Publisher::new(log.clone(), id)).await.unwrap();
        }

        let start = [(TopicPartition::new("words", 0), 0)].into_iter().collect::<Positions>();
        let mut reader = log.read(start);
        let mut seen: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        while seen.values().map(Vec::len).sum::<usize>() < 600 {
            let Incoming::Records(batch) = reader.next().await.unwrap() else { unreachable!("nobody joined a group") };
            for record in batch.records {
                seen.entry(record.headers.get("ce_id").unwrap().to_vec()).or_default().push(record.payload);
            }
        }
        assert_eq!(seen.len(), 300);
        assert!(seen.values().all(|words| words.len() == 2 && words[0] == words[1]));
    }
}
