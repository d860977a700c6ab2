//! Claim 2: Redis pub/sub is not fit for production.

mod deadline;
mod expiry;
mod moves;
mod stalled;
mod storm;
mod support;
mod watcher;

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![Box::new(stalled::Stalled), Box::new(expiry::Expiry), Box::new(moves::Moves), Box::new(storm::Storm)]
}
