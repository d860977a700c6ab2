//! Claim 1: Redis has no versioning.
//!
//! Three ways to meet it: a watcher that was away ([`cut_off`]), a writer that was away ([`late_write`]), and a history that does not reach back far
//! enough ([`compaction`]).

mod away;
mod changes;
mod compaction;
mod cut_off;
mod gone;
mod late_write;
mod plain_put;
mod raw;
mod stage;
mod tally;
mod trial;
mod watcher;
mod words;

use crate::experiment::Experiment;

pub(super) fn experiments() -> Vec<Box<dyn Experiment>> {
    vec![Box::new(cut_off::CutOff), Box::new(late_write::LateWrite), Box::new(compaction::Compaction)]
}
