//! Claim 5: Redis does not keep what it acknowledged.

mod cold_restart;
mod figures;
mod heartbeats;
mod owners;
mod power_cut;
mod store_full;
mod subjects;
mod watcher;

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![
        Box::new(power_cut::PowerCut),
        Box::new(cold_restart::ColdRestart),
        Box::new(heartbeats::Heartbeats),
        Box::new(store_full::StoreFull),
    ]
}
