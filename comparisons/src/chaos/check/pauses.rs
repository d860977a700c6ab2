//! When processes of clients stood still: what they did not say then is not the registry's silence.

use std::collections::BTreeMap;

use super::evidence::{Evidence, process};
use crate::chaos::history::At;

/// A process that says nothing for so long, in ms, stands still: silence of its watches is its own.
const PAUSE_MS: u64 = 2_000;

/// When each process stood still.
pub(super) struct Pauses<'a>(BTreeMap<&'a str, Vec<(At, At)>>);

impl<'a> Pauses<'a> {
    pub(super) fn of(evidence: &Evidence<'a>) -> Self {
        let mut signs: BTreeMap<&str, Vec<At>> = BTreeMap::new();
        let mut sign = |name: &'a str, at: At| signs.entry(process(name)).or_default().push(at);
        evidence.operations.iter().for_each(|(_, op)| {
            sign(&op.client, op.invoked);
            sign(&op.client, op.returned);
        });
        evidence.owners.iter().for_each(|(_, step)| sign(&step.owner, step.at));
        evidence.watchers.values().flatten().for_each(|(_, told)| sign(&told.watcher, told.at));
        evidence.views.values().flatten().for_each(|(_, viewed)| sign(&viewed.view, viewed.at));
        let pauses = |mut signs: Vec<At>| {
            signs.sort_unstable();
            let long = |pair: &&[At]| matches!(pair, [from, to] if to.ms_since(*from) > PAUSE_MS);
            signs.windows(2).filter(long).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect()
        };
        Self(signs.into_iter().map(|(process, signs)| (process, pauses(signs))).collect())
    }

    /// For how many ms of that time the process of `name` stood still.
    pub(super) fn within(&self, name: &str, from: At, to: At) -> u64 {
        let pauses = self.0.get(process(name)).map_or(&[][..], Vec::as_slice);
        let first = pauses.partition_point(|(_, end)| *end <= from);
        pauses
            .iter()
            .skip(first)
            .take_while(|(start, _)| *start < to)
            .map(|(start, end)| (*end).min(to).ms_since((*start).max(from)))
            .sum()
    }
}
