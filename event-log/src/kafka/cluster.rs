use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::client::{self, LogLines, PROPAGATION, is_unknown_topic, unavailable};
use super::used::Used;
use crate::{LogError, Positions, TopicPartition};

/// How long a question to the cluster may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a question about topics may take after another one failed.
const SECOND_PATIENCE: Duration = Duration::from_secs(1);
/// How long the number of a topic's partitions is believed.
const PARTITIONS_FRESH: Duration = Duration::from_secs(10);
/// How long to wait before asking again for a topic that a broker does not know.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(20);

/// Asks the cluster about topics, where they start and where they end.
pub(super) struct Cluster {
    /// Never reads. A consumer and no producer, whose questions could create topics.
    client: BaseConsumer<LogLines>,
    used: Arc<Used>,
    partitions: Mutex<HashMap<Arc<str>, PartitionCount>>,
    /// When each topic was first there.
    met: Mutex<HashMap<Arc<str>, Instant>>,
}

#[derive(Clone, Copy)]
struct PartitionCount {
    count: i32,
    asked_at: Instant,
}

impl Cluster {
    pub(super) fn new(bootstrap_servers: &str, used: Arc<Used>) -> Result<Self, LogError> {
        let client = client::config(bootstrap_servers)
            // The end has to cover every acknowledged record, also behind a transaction that is still open.
            .set("isolation.level", "read_uncommitted")
            .create_with_context(LogLines)
            .map_err(|error| client::not_created(&error))?;
        Ok(Self { client, used, partitions: Mutex::default(), met: Mutex::default() })
    }

    /// The cluster's own id.
    pub(super) async fn id(self: &Arc<Self>) -> Result<String, LogError> {
        self.blocking(|cluster| {
            cluster
                .client
                .client()
                .fetch_cluster_id(PATIENCE)
                .ok_or_else(|| LogError::Unavailable("the Kafka cluster did not say its id".to_owned()))
        })
        .await
    }

    /// What the cluster knows of `topic`, waiting for up to `patience`.
    pub(super) async fn metadata(self: &Arc<Self>, topic: Arc<str>, patience: Duration) -> Result<Metadata, LogError> {
        self.blocking(move |cluster| {
            cluster.client.fetch_metadata(Some(&topic), patience).map_err(|error| unavailable(&error))
        })
        .await
    }

    /// What the cluster knows of `topic`, as [`Cluster::metadata`]. That there is none is believed once it was said for as
    /// long as a new topic may be unknown to some of the brokers.
    pub(super) async fn settled_metadata(
        self: &Arc<Self>,
        topic: Arc<str>,
        patience: Duration,
    ) -> Result<Metadata, LogError> {
        self.blocking(move |cluster| {
            let now = Instant::now();
            let asked = cluster.ask_until_settled(&topic, now + patience, now + PROPAGATION);
            asked.map_err(|error| unavailable(&error))
        })
        .await
    }

    /// See [`EventLog::starts`](crate::EventLog::starts).
    pub(super) async fn starts(self: &Arc<Self>, topics: &[Arc<str>]) -> Result<Positions, LogError> {
        let topics = topics.to_vec();
        self.blocking(move |cluster| cluster.ask(&topics, Offset::Beginning)).await
    }

    /// See [`EventLog::ends`](crate::EventLog::ends).
    pub(super) async fn ends(self: &Arc<Self>, topics: &[Arc<str>]) -> Result<Positions, LogError> {
        let topics = topics.to_vec();
        self.blocking(move |cluster| cluster.ask(&topics, Offset::End)).await
    }

    /// See [`EventLog::unused`](crate::EventLog::unused).
    pub(super) async fn unused(self: &Arc<Self>, topics: &[Arc<str>]) -> Result<Positions, LogError> {
        let topics = topics.to_vec();
        self.blocking(move |cluster| {
            let deadline = Instant::now() + PATIENCE;
            let mut unused = Vec::new();
            for topic in &topics {
                let count = cluster.partition_count(topic, deadline)?;
                let used = cluster.used.of(topic).unwrap_or(count);
                unused.extend((used..count).map(|partition| TopicPartition::new(Arc::clone(topic), partition)));
            }
            cluster.ask_partitions(&unused, Offset::End, deadline)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let cluster = Arc::clone(self);
        let asked = spawn_blocking(move || {
            // Errors of connections collect in the client's queue until someone takes them out.
            while cluster.client.poll(Duration::ZERO).is_some() {}
            ask(&cluster)
        });
        asked.await.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
    }

    /// Where every partition of `topics` that is used has its `place`. A topic that is gone is named, also when the client
    /// still believes in its partitions.
    fn ask(&self, topics: &[Arc<str>], place: Offset) -> Result<Positions, LogError> {
        self.ask_topics(topics, place).map_err(|error| {
            if !matches!(error, LogError::Unavailable(_)) {
                return error;
            }
            self.partitions().retain(|known, _| !topics.contains(known));
            let deadline = Instant::now() + SECOND_PATIENCE;
            let counts = topics.iter().map(|topic| self.used_count(topic, deadline));
            let definite = counts.filter_map(Result::err).find(|error| !matches!(error, LogError::Unavailable(_)));
            definite.unwrap_or(error)
        })
    }

    fn ask_topics(&self, topics: &[Arc<str>], place: Offset) -> Result<Positions, LogError> {
        let deadline = Instant::now() + PATIENCE;
        let mut partitions = Vec::new();
        for topic in topics {
            let count = self.used_count(topic, deadline)?;
            partitions.extend((0..count).map(|partition| TopicPartition::new(Arc::clone(topic), partition)));
        }
        self.ask_partitions(&partitions, place, deadline)
    }

    /// Where each of `partitions` has its `place`.
    fn ask_partitions(
        &self,
        partitions: &[TopicPartition],
        place: Offset,
        deadline: Instant,
    ) -> Result<Positions, LogError> {
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        let mut questions = TopicPartitionList::new();
        for TopicPartition { topic, partition } in partitions {
            questions.add_partition_offset(topic, *partition, place).map_err(|error| unavailable(&error))?;
        }
        let answers = self.client.offsets_for_times(questions, until(deadline)).map_err(|error| unavailable(&error))?;
        let answers = answers.elements();
        let answers: BTreeMap<(&str, i32), _> =
            answers.iter().map(|answer| ((answer.topic(), answer.partition()), answer)).collect();
        let mut positions = Positions::new();
        for partition in partitions {
            let silent = || {
                let TopicPartition { topic, partition } = partition;
                LogError::Unavailable(format!("{topic}/{partition} does not say where it starts and ends now"))
            };
            let answer = answers.get(&(&*partition.topic, partition.partition)).ok_or_else(silent)?;
            answer.error().map_err(|error| unavailable(&error))?;
            let Offset::Offset(offset) = answer.offset() else { return Err(silent()) };
            positions.set(partition.clone(), offset);
        }
        Ok(positions)
    }

    /// How many partitions of `topic` are used.
    fn used_count(&self, topic: &Arc<str>, deadline: Instant) -> Result<i32, LogError> {
        let count = self.partition_count(topic, deadline)?;
        match self.used.of(topic) {
            Some(used) if used > count => {
                Err(LogError::Misconfigured(format!("the topic {topic} has {count} partitions, and had {used}")))
            }
            used => Ok(used.unwrap_or(count)),
        }
    }

    fn partition_count(&self, topic: &Arc<str>, deadline: Instant) -> Result<i32, LogError> {
        let known = self.partitions().get(topic).copied();
        if let Some(known) = known.filter(|known| known.asked_at.elapsed() < PARTITIONS_FRESH) {
            return Ok(known.count);
        }
        // One that was there for longer is no new one: that it is gone is believed at once.
        let met = self.met().get(topic).copied();
        let settled = met.unwrap_or_else(Instant::now) + PROPAGATION;
        let metadata = self.ask_until_settled(topic, deadline, settled).map_err(|error| unavailable(&error))?;
        if is_unknown_topic(&metadata) {
            return Err(LogError::UnknownTopic { topic: Arc::clone(topic) });
        }
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if count == 0 {
            return Err(LogError::Unavailable(format!("the topic {topic} has no partitions now")));
        }
        let count = i32::try_from(count).expect("Kafka counts partitions in 32 bits");
        self.met().entry(Arc::clone(topic)).or_insert_with(Instant::now);
        self.partitions().insert(Arc::clone(topic), PartitionCount { count, asked_at: Instant::now() });
        Ok(count)
    }

    /// See [`Cluster::settled_metadata`].
    fn ask_until_settled(&self, topic: &str, deadline: Instant, settled: Instant) -> Result<Metadata, KafkaError> {
        let ask = || self.client.fetch_metadata(Some(topic), until(deadline));
        ask_again_while(is_unknown_topic, ask, settled.min(deadline))
    }

    fn met(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self) -> MutexGuard<'_, HashMap<Arc<str>, PartitionCount>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `ask` gives, asked again until `settled` while that is `unknown`.
fn ask_again_while<T>(
    unknown: impl Fn(&T) -> bool,
    mut ask: impl FnMut() -> Result<T, KafkaError>,
    settled: Instant,
) -> Result<T, KafkaError> {
    let mut answer = ask()?;
    while unknown(&answer) && Instant::now() < settled {
        thread::sleep(UNKNOWN_PAUSE);
        match ask() {
            Ok(again) => answer = again,
            Err(_) => break,
        }
    }
    Ok(answer)
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[tokio::test]
    async fn a_topic_that_is_missing_is_named_and_found_once_it_is_there() {
        let played = MockCluster::new(1).expect("a cluster can be played");
        let asking = Arc::new(Cluster::new(&played.bootstrap_servers(), Arc::default()).expect("a client can be made"));
        let missing = asking.ends(&["events".into()]).await;
        assert!(matches!(&missing, Err(LogError::UnknownTopic { topic }) if &**topic == "events"), "{missing:?}");

        played.create_topic("events", 2, 1).expect("the topic can be made");
        let there = asking.ends(&["events".into()]).await.expect("the cluster answers");
        assert_eq!(there.partitions().count(), 2);
    }

    #[test]
    fn an_unknown_topic_is_asked_for_until_it_is_known_or_that_is_settled() {
        let (now, much_later) = (Instant::now(), Instant::now() + Duration::from_secs(300));
        for (settled, expected) in [(much_later, (true, 3)), (now, (false, 1))] {
            let mut asked = 0;
            let ask = || {
                asked += 1;
                Ok(asked == 3)
            };
            let is_known = ask_again_while(|is_known| !is_known, ask, settled).expect("an answer");
            assert_eq!((is_known, asked), expected);
        }
        // Whoever does not answer any more has said it before.
        let mut answers = [Ok(false), Err(KafkaError::Canceled)].into_iter();
        let answer = ask_again_while(|is_known| !is_known, || answers.next().expect("two"), much_later);
        assert_eq!(answer.ok(), Some(false));
    }
}
