//! What is measured, a file a topic.

pub mod stores;

use self::stores::Store::{Etcd, Redis};
use self::stores::{first, heartbeats, load, operations, watch};
use crate::contest::Topic;
use crate::operator::Operation;

mod fan_out;
mod fold;
mod grpc;
mod pick_alone;
mod pick_call;

/// All topics, in the order in which they are measured.
#[must_use]
pub fn all() -> Vec<Box<dyn Topic>> {
    vec![
        operations::topic(Operation::Register, Etcd),
        operations::topic(Operation::Register, Redis),
        operations::topic(Operation::Update, Etcd),
        operations::topic(Operation::Update, Redis),
        operations::topic(Operation::Keepalive, Etcd),
        operations::topic(Operation::Keepalive, Redis),
        operations::topic(Operation::Lookup, Etcd),
        operations::topic(Operation::Lookup, Redis),
        operations::topic(Operation::Deregister, Etcd),
        operations::topic(Operation::Deregister, Redis),
        watch::topic(Etcd),
        watch::topic(Redis),
        first::topic(),
        heartbeats::topic(Etcd),
        heartbeats::topic(Redis),
        load::topic(Etcd),
        load::topic(Redis),
        Box::new(pick_call::PickCall),
        Box::new(pick_alone::PickAlone),
        Box::new(fold::Fold),
        Box::new(fan_out::FanOut),
        // In their processes spans and metrics are kept, and criterion's have none.
        Box::new(grpc::Calls),
        Box::new(grpc::CallTail),
    ]
}
