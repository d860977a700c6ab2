//! Claim 4: a cluster of Redis loses what it acknowledged.

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    Vec::new()
}
