//! What is measured, a file a topic.

use crate::contest::Topic;

mod fan_out;
mod fold;
mod grpc;
mod pick_alone;
mod pick_call;

/// All topics, in the order in which they are measured.
#[must_use]
pub fn all() -> Vec<Box<dyn Topic>> {
    vec![
        Box::new(pick_call::PickCall),
        Box::new(pick_alone::PickAlone),
        Box::new(fold::Fold),
        Box::new(fan_out::FanOut),
        // The last ones: from here on, spans and metrics are kept in this process.
        Box::new(grpc::Calls),
        Box::new(grpc::CallTail),
    ]
}
