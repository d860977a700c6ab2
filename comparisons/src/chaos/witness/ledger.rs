//! What the store says, written down as truth.

use std::collections::BTreeMap;

use crate::chaos::history::{Change, Line, Listed, Position, Truth};
use crate::chaos::recorder::Recorder;
use crate::chaos::verdict::TRUTH_GAP;

/// Writes truth. An epoch begins with all that is listed then, each where it was changed last, so that every epoch can be read for itself.
pub(super) struct Ledger {
    recorder: Recorder,
    epoch: Option<u64>,
    /// How many histories of an epoch are not there any more: what is written instead has the same name until a client gives it another one.
    left: BTreeMap<u64, u32>,
    revision: u64,
    listed: BTreeMap<String, Listed>,
}

impl Ledger {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder, epoch: None, left: BTreeMap::new(), revision: 0, listed: BTreeMap::new() }
    }

    /// The last revision written down; 0 if there is none in this history.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Nothing else happened up to this revision of the present history.
    pub(super) fn pass(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Some of the truth is missing from here on.
    pub(super) fn gap(&self, why: &str) {
        self.recorder.note(format!("{TRUTH_GAP}{why}"), None);
    }

    /// The store has another history, and what was listed in the last one is not there any more.
    pub(super) fn wiped(&mut self) {
        if let Some(epoch) = self.epoch {
            *self.left.entry(epoch).or_default() += 1;
        }
        (self.epoch, self.revision) = (None, 0);
        self.listed.clear();
    }

    /// From now on revisions are of this epoch; what is listed stays.
    pub(super) fn enter(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        self.epoch = Some(epoch);
        let mut all: Vec<Listed> = self.listed.values().cloned().collect();
        all.sort_by_key(|one| one.modified);
        for one in all {
            self.write(one.modified.unwrap_or_default(), Change::Put(one), true);
        }
    }

    /// All that is listed at a position, where changes before it may be missing.
    pub(super) fn list(&mut self, position: Position, all: Vec<Listed>) {
        let same = self.epoch == Some(position.epoch);
        let (known, before) = (std::mem::take(&mut self.listed), self.revision);
        self.listed = all.into_iter().map(|one| (one.id.clone(), one)).collect();
        if same {
            let gone = known.into_keys().filter(|id| !self.listed.contains_key(id));
            let gone: Vec<String> = gone.collect();
            let mut news: Vec<Listed> = self.listed.values().cloned().collect();
            news.retain(|one| one.modified.is_none_or(|modified| modified > before));
            news.sort_by_key(|one| one.modified);
            for one in news {
                self.write(one.modified.unwrap_or_default(), Change::Put(one), true);
            }
            for id in gone {
                self.write(position.revision, Change::Delete { id, cause: None }, true);
            }
        } else {
            self.enter(position.epoch);
        }
        self.revision = position.revision;
    }

    /// A change at a revision of the present epoch.
    pub(super) fn change(&mut self, revision: u64, change: Change) {
        self.revision = revision;
        match &change {
            Change::Put(one) => drop(self.listed.insert(one.id.clone(), one.clone())),
            Change::Delete { id, .. } => drop(self.listed.remove(id)),
        }
        if self.epoch.is_some() {
            self.write(revision, change, false);
        }
    }

    fn write(&self, revision: u64, change: Change, listed: bool) {
        let epoch = self.epoch.unwrap_or_default();
        let branch = self.left.get(&epoch).copied().unwrap_or_default();
        let position = Position { epoch, revision };
        self.recorder.write(Line::Truth(Truth { position, branch, change, listed }));
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;
    use crate::chaos::history::{Change, Line, Listed, Position};
    use crate::chaos::recorder::{Clock, Recorder};

    fn put(id: &str, modified: u64) -> Change {
        let id = id.to_owned();
        Change::Put(Listed { id, value: modified, incarnation: Some(1), modified: Some(modified) })
    }

    /// Epoch, revision, and whether it is from a list.
    fn positions(lines: Vec<Line>) -> Vec<(u64, u64, bool)> {
        let of = |line| match line {
            Line::Truth(truth) => (truth.position.epoch, truth.position.revision, truth.listed),
            other => panic!("{other:?}"),
        };
        lines.into_iter().map(of).collect()
    }

    #[test]
    fn an_epoch_begins_with_what_is_listed_and_a_wiped_store_with_nothing() {
        let (recorder, mut recording) = Recorder::new(Clock::start());
        let mut ledger = Ledger::new(recorder);
        ledger.change(2, put("a", 2));
        ledger.enter(7);
        ledger.change(3, put("b", 3));
        ledger.change(4, Change::Delete { id: "a".to_owned(), cause: None });
        ledger.enter(8);
        ledger.wiped();
        ledger.enter(9);
        ledger.change(1, put("c", 1));
        assert_eq!(
            positions(recording.drain()),
            [(7, 2, true), (7, 3, false), (7, 4, false), (8, 3, true), (9, 1, false)]
        );
    }

    #[test]
    fn what_is_written_in_the_place_of_a_lost_history_is_another_branch_until_it_has_a_name() {
        let (recorder, mut recording) = Recorder::new(Clock::start());
        let mut ledger = Ledger::new(recorder);
        ledger.enter(7);
        ledger.change(3, put("a", 3));
        ledger.wiped();
        ledger.enter(7);
        ledger.change(3, put("b", 3));
        ledger.enter(8);
        ledger.change(4, put("c", 4));
        let lines = recording.drain();
        let branches = lines.iter().map(|line| match line {
            Line::Truth(truth) => truth.branch,
            other => panic!("{other:?}"),
        });
        assert_eq!(branches.collect::<Vec<_>>(), [0, 1, 0, 0]);
        assert_eq!(positions(lines), [(7, 3, false), (7, 3, false), (8, 3, true), (8, 4, false)]);
    }

    #[test]
    fn a_list_tells_what_is_new_and_what_is_gone() {
        let (recorder, mut recording) = Recorder::new(Clock::start());
        let mut ledger = Ledger::new(recorder);
        let listed = |changes: &[Change]| {
            let one = |change: &Change| match change {
                Change::Put(one) => one.clone(),
                Change::Delete { .. } => panic!("a list has none"),
            };
            changes.iter().map(one).collect::<Vec<_>>()
        };
        ledger.list(Position { epoch: 1, revision: 5 }, listed(&[put("a", 2), put("b", 4)]));
        ledger.list(Position { epoch: 1, revision: 9 }, listed(&[put("b", 4), put("c", 8)]));
        assert_eq!(positions(recording.drain()), [(1, 2, true), (1, 4, true), (1, 8, true), (1, 9, true)]);
        assert_eq!(ledger.revision(), 9);
    }
}
