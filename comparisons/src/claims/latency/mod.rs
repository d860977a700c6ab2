//! Claim 3: Redis is slower than etcd's watch.

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    Vec::new()
}
