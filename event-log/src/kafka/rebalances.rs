use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;

use super::client::log_line;
use crate::TopicPartition;

/// What the group has decided, in order, until the pump takes it.
#[derive(Default)]
pub(super) struct Rebalances(Mutex<VecDeque<Rebalance>>);

pub(super) enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

impl Rebalances {
    pub(super) fn take(&self) -> VecDeque<Rebalance> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, rebalance: Rebalance) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
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
