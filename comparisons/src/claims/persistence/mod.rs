//! Claim 5: Redis does not keep what it acknowledged.

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    Vec::new()
}
