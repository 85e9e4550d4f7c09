use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinSet;

use crate::error::AppendError;
use crate::log::{EventLog, append_patiently};
use crate::record::Message;

/// Appends many messages at a time, those of one key one after the other, and tries again while the log is away: for a program
/// that fills a log as fast as it goes. What is under way when this is dropped is in the log or not.
pub struct Lanes {
    lanes: Vec<Sender<(Arc<str>, Message)>>,
    under_way: JoinSet<Result<(), AppendError>>,
}

impl Lanes {
    /// Appends up to `at_once` messages at a time to `log`; as many more wait.
    ///
    /// # Panics
    /// Outside of a runtime, or when `at_once` is 0.
    pub fn new(log: &Arc<dyn EventLog>, at_once: usize) -> Self {
        assert!(at_once > 0, "nothing would ever be appended");
        let mut under_way = JoinSet::new();
        let mut lane = || {
            let (lane, mut messages) = mpsc::channel::<(Arc<str>, Message)>(1);
            let log = log.clone();
            under_way.spawn(async move {
                while let Some((topic, message)) = messages.recv().await {
                    append_patiently(log.as_ref(), &topic, message).await?;
                }
                Ok(())
            });
            lane
        };
        Self { lanes: (0..at_once).map(|_| lane()).collect(), under_way }
    }

    /// Appends `message` to `topic` once it has its turn. Like [`append_patiently`] this may put it there twice. `false` when an
    /// earlier message could not be appended: nothing more is taken after its key, and [`finish`](Self::finish) says why.
    #[must_use]
    pub async fn append(&self, topic: Arc<str>, message: Message) -> bool {
        let mut hasher = DefaultHasher::new();
        message.key.hash(&mut hasher);
        let lane = (hasher.finish() % self.lanes.len() as u64) as usize;
        self.lanes[lane].send((topic, message)).await.is_ok()
    }

    /// Waits until everything is appended.
    ///
    /// # Errors
    /// Why a message could not be appended.
    pub async fn finish(mut self) -> Result<(), AppendError> {
        self.lanes.clear();
        while let Some(ended) = self.under_way.join_next().await {
            ended.expect("a lane does not panic, and nobody else ends it")?;
        }
        Ok(())
    }
}
