//! What a watcher was told, held against what there was to be told.

use std::collections::BTreeSet;

use super::changes::{Change, LAST, truth};
use crate::contestants::{Listed, Seen, fold};
use crate::record::Record;

pub(super) const WRITTEN: &str = "written";
pub(super) const DELIVERED: &str = "delivered";
pub(super) const COVERED: &str = "covered";
pub(super) const SILENT: &str = "missed_silently";
pub(super) const GAPS: &str = "gaps_reported";
pub(super) const TROUBLES: &str = "troubles_told";
pub(super) const WRONG: &str = "wrong_at_end";

/// How a watcher fared while it was away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Changes that were made.
    pub(super) written: usize,
    /// Of these, told one by one.
    pub(super) delivered: usize,
    /// Of the others, replaced by a list that was said to come after a gap.
    pub(super) covered: usize,
    /// Of the others, those that no list covers that was said to come after a gap.
    pub(super) silent: usize,
    /// How often a gap was reported.
    pub(super) gaps: usize,
    /// How often the watcher was told that the registry is out of reach.
    pub(super) troubles: usize,
    /// Instances that it has with another value than they have, or has and should not, or the other way round.
    pub(super) wrong: usize,
}

/// `told` is what the watcher was told since it was cut off, when it saw `before`. A gap was reported after all changes, since it was away while they were made.
pub(super) fn tally(before: &Listed, changes: &[Change], told: &[Seen]) -> Tally {
    let one_by_one: BTreeSet<(&str, Option<u64>)> = told
        .iter()
        .filter_map(|seen| match seen {
            Seen::Change { id, value } => Some((id.as_str(), *value)),
            _ => None,
        })
        .collect();
    let written = changes.len();
    let was_told = |change: &&Change| one_by_one.contains(&(change.id.as_str(), change.value));
    let delivered = changes.iter().filter(was_told).count();
    let gaps = told.iter().filter(|seen| matches!(seen, Seen::List { gap: true, .. })).count();
    let troubles = told.iter().filter(|seen| matches!(seen, Seen::Trouble(_))).count();
    let left = written - delivered;
    let (covered, silent) = if gaps > 0 { (left, 0) } else { (0, left) };

    let mut view = before.clone();
    told.iter().for_each(|seen| fold(&mut view, seen));
    let truth = truth(before, changes);
    let ids: BTreeSet<&String> = view.keys().chain(truth.keys()).filter(|id| *id != LAST).collect();
    let wrong = ids.into_iter().filter(|id| view.get(*id) != truth.get(*id)).count();
    Tally { written, delivered, covered, silent, gaps, troubles, wrong }
}

impl Tally {
    /// As figures.
    pub(super) fn kept_in(self, record: Record) -> Record {
        let figures = [
            (WRITTEN, self.written),
            (DELIVERED, self.delivered),
            (COVERED, self.covered),
            (SILENT, self.silent),
            (GAPS, self.gaps),
            (TROUBLES, self.troubles),
            (WRONG, self.wrong),
        ];
        #[expect(clippy::cast_precision_loss, reason = "counts of some hundreds")]
        figures.into_iter().fold(record, |record, (name, count)| record.with(name, count as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes::{Change, LAST, beginning, plan, truth};
    use super::{Tally, tally};
    use crate::contestants::{Listed, Seen};

    fn planned() -> (Listed, Vec<Change>) {
        let before = beginning();
        let changes = plan(&mut fastrand::Rng::with_seed(7), &before, 100);
        (before, changes)
    }

    fn one_by_one(changes: &[Change]) -> Vec<Seen> {
        changes.iter().map(|change| Seen::Change { id: change.id.clone(), value: change.value }).collect()
    }

    #[test]
    fn who_was_told_all_missed_nothing() {
        let (before, changes) = planned();
        let mut told = one_by_one(&changes);
        told.insert(0, Seen::Trouble("away".to_owned()));
        told.push(Seen::Change { id: LAST.to_owned(), value: Some(1) });
        let whole = Tally { written: 100, delivered: 100, troubles: 1, ..Tally::default() };
        assert_eq!(tally(&before, &changes, &told), whole);
    }

    #[test]
    fn each_change_that_was_not_told_is_missed() {
        let (before, changes) = planned();
        for at in 0..changes.len() {
            let mut told = one_by_one(&changes);
            told.remove(at);
            let tally = tally(&before, &changes, &told);
            assert_eq!((tally.delivered, tally.silent, tally.covered), (99, 1, 0), "{:?}", changes[at]);
        }
        let nothing = tally(&before, &changes, &[Seen::Recovered]);
        assert_eq!((nothing.silent, nothing.gaps), (100, 0));
        assert!(nothing.wrong > 0);
    }

    #[test]
    fn a_list_covers_what_was_missed_only_if_it_says_so() {
        let (before, changes) = planned();
        let listed = truth(&before, &changes);
        let told = |gap| [Seen::List { listed: listed.clone(), gap }];
        let (said, unsaid) = (tally(&before, &changes, &told(true)), tally(&before, &changes, &told(false)));
        assert_eq!((said.covered, said.silent, said.gaps, said.wrong), (100, 0, 1, 0));
        assert_eq!((unsaid.covered, unsaid.silent, unsaid.gaps, unsaid.wrong), (0, 100, 0, 0));
    }

    #[test]
    fn ghosts_losses_and_old_values_are_wrong() {
        let (before, changes) = planned();
        let right = truth(&before, &changes);
        let wrong = |change: fn(&mut Listed)| {
            let mut listed = right.clone();
            change(&mut listed);
            tally(&before, &changes, &[Seen::List { listed, gap: true }]).wrong
        };
        assert_eq!(wrong(|_| {}), 0);
        assert_eq!(wrong(|listed| listed.extend([("ghost".to_owned(), 1)])), 1);
        assert_eq!(wrong(|listed| drop(listed.pop_first())), 1);
        assert_eq!(wrong(|listed| listed.values_mut().take(2).for_each(|value| *value = 0)), 2);
        assert_eq!(wrong(|listed| listed.extend([(LAST.to_owned(), 9)])), 0);
    }
}
