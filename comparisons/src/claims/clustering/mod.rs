//! Claim 4: a cluster of Redis loses what it acknowledged.

mod aftermath;
mod group;
mod kill;
mod split;
mod stale;
pub(in crate::claims) mod view;
pub(in crate::claims) mod words;
mod writer;

use crate::experiment::Experiment;

pub(crate) use group::sentinels_know_all;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![Box::new(kill::KilledLeader), Box::new(split::TwoPrimaries), Box::new(stale::StalePromoted)]
}
