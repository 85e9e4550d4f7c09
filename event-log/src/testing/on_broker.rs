//! What a test has on a broker that others have, too.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::within;

/// The topics and groups of a test on a broker: all that have `mark` in their names. They are deleted when this is dropped,
/// so it is dropped after whoever uses them.
#[derive(Debug)]
pub struct OnBroker {
    brokers: String,
    mark: String,
}

/// How long the broker may take for each of the answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a group is waited for that its members are leaving. One whose members were killed stays until the broker misses
/// them, and is forgotten then, since nothing is committed in it.
const LEFT_WITHIN: Duration = Duration::from_millis(500);

impl OnBroker {
    /// All whose names have `mark` in them, which nobody else's have.
    pub fn marked(brokers: &str, mark: impl Into<String>) -> Self {
        Self { brokers: brokers.to_owned(), mark: mark.into() }
    }
}

impl Drop for OnBroker {
    fn drop(&mut self) {
        let (brokers, mark) = (std::mem::take(&mut self.brokers), std::mem::take(&mut self.mark));
        // A thread of its own, because the runtime that the test runs in cannot be waited for from here.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(delete(&brokers, &mark))
        });
        if let Ok(Err(error)) = deleted.join() {
            eprintln!("what a test has on the broker stays behind: {error}");
        }
    }
}

async fn delete(brokers: &str, mark: &str) -> Result<(), KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let client: BaseConsumer = config.create()?;
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));

    let metadata = client.fetch_metadata(None, PATIENCE)?;
    let topics: Vec<&str> =
        metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.contains(mark)).collect();
    if !topics.is_empty() {
        admin.delete_topics(&topics, &options).await?;
    }
    let listed = client.fetch_group_list(None, PATIENCE)?;
    let mut groups: Vec<&str> =
        listed.groups().iter().map(|group| group.name()).filter(|name| name.contains(mark)).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let delete_groups = async || {
        let deleted = match admin.delete_groups(&groups, &options).await {
            Ok(deleted) => deleted,
            Err(error) => return Some(Err(error)),
        };
        let has_members = |group: &&str| deleted.contains(&Err(((*group).to_owned(), RDKafkaErrorCode::NonEmptyGroup)));
        groups.retain(has_members);
        groups.is_empty().then_some(Ok(()))
    };
    within(LEFT_WITHIN, delete_groups).await.unwrap_or(Ok(()))
}
