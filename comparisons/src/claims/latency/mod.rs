//! Claim 3: Redis is slower than etcd's watch.

mod arms;
mod death;
mod delay;
mod durable;
mod healthy;
mod pairs;
mod reconnect;
mod servers;
mod shown;

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![
        Box::new(healthy::Healthy),
        Box::new(durable::Durable),
        Box::new(death::Death),
        Box::new(reconnect::Reconnect),
    ]
}
