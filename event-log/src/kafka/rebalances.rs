use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;

use super::client::log_line;
use super::used::Used;
use crate::TopicPartition;

/// What the group has decided, in order, until the pump takes it.
pub(super) struct Rebalances {
    decided: Mutex<VecDeque<Rebalance>>,
    /// The group shares out all partitions; the others are left alone.
    used: Arc<Used>,
}

pub(super) enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

impl Rebalances {
    pub(super) fn of(used: Arc<Used>) -> Self {
        Self { decided: Mutex::default(), used }
    }

    /// For a consumer in the place of this one's.
    pub(super) fn anew(&self) -> Self {
        Self::of(Arc::clone(&self.used))
    }

    pub(super) fn take(&self) -> VecDeque<Rebalance> {
        std::mem::take(&mut *self.decided.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, rebalance: Rebalance) {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let elements = list.elements();
        let is_used = |topic: &str, partition| self.used.of(topic).is_none_or(|count| partition < count);
        let used = elements.iter().filter(|element| is_used(element.topic(), element.partition()));
        let partitions = used.map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        let settled = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.push(Rebalance::Assigned(partitions));
            // Nothing is read before the reader says from where. An empty assignment lets the consumer take part
            // in the next rebalance meanwhile, which would otherwise wait for the answer.
            consumer.assign(&TopicPartitionList::new())
        } else {
            self.push(Rebalance::Revoked(partitions));
            consumer.unassign()
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "the consumer did not follow its group");
        }
    }
}
