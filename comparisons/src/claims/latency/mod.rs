//! Claim 3: Redis is slower than etcd's watch.

mod death;
mod reconnect;

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![Box::new(death::Death), Box::new(reconnect::Reconnect)]
}
