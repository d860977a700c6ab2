//! What the logs of several servers say, put together: each entry names the one before it, so that histories that took each other's place are told apart, and
//! what several servers have of one history is one.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::chaos::history::{Change, Position, Truth};

/// By what an entry is known: no two are alike.
pub(super) type Nonce = u64;

/// An entry of a log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) nonce: Nonce,
    pub(super) previous: Nonce,
    pub(super) change: Change,
}

/// Where a server's log was read to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) nonce: Nonce,
}

/// How what a server has goes on from where its log was read to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// After the first entry, which is that place.
    AfterFirst,
    /// With the first entry.
    WithFirst,
    /// With the first entry, but what came between was trimmed before it was read.
    AfterGap,
    /// It does not: it is another history.
    Replaced,
}

impl Next {
    /// Of a log that was read to `last`; the server is at `head` now, and `first` is the first entry at or after that revision.
    pub(super) fn of(last: Option<Place>, head: Option<Place>, first: Option<&Entry>) -> Self {
        let Some(last) = last else { return Self::WithFirst };
        let trimmed = head.is_some_and(|head| head == last || head.revision > last.revision);
        match first {
            Some(first) if first.nonce == last.nonce => Self::AfterFirst,
            Some(first) if first.previous == last.nonce => Self::WithFirst,
            Some(first) if first.revision > last.revision + 1 => Self::AfterGap,
            None if trimmed => Self::WithFirst,
            _ => Self::Replaced,
        }
    }
}

struct Link {
    entry: Entry,
    /// The entry before it, as far as that is known.
    before: Nonce,
    /// Whether there were others between.
    gap: bool,
}

/// Entries, and where histories were seen to end.
#[derive(Default)]
pub(super) struct Chains {
    links: HashMap<Nonce, Link>,
    /// The epoch that a history went by, and its last entry; by when that was seen last.
    ends: Vec<(u64, Nonce)>,
}

impl Chains {
    /// An entry was read; after a gap, if there is one, behind which the last one read is `after`.
    pub(super) fn add(&mut self, entry: Entry, after: Option<Nonce>) {
        let link = Link { before: after.unwrap_or(entry.previous), gap: after.is_some(), entry };
        match self.links.get(&link.entry.nonce) {
            // Another server may have what this one has lost.
            Some(known) if link.gap || !known.gap => {}
            _ => drop(self.links.insert(link.entry.nonce, link)),
        }
    }

    /// A server had a history of this epoch up to this entry.
    pub(super) fn ends(&mut self, epoch: u64, last: Nonce) {
        self.ends.retain(|end| *end != (epoch, last));
        self.ends.push((epoch, last));
    }

    /// From its first entry on.
    fn chain(&self, last: Nonce) -> Vec<&Link> {
        let back = std::iter::successors(self.links.get(&last), |link| {
            self.links.get(&link.before).filter(|before| before.entry.revision < link.entry.revision)
        });
        let mut chain: Vec<&Link> = back.collect();
        chain.reverse();
        chain
    }

    /// Each history from its beginning, epoch by epoch; of one epoch the one that was there last comes last. With what is missing, in words.
    pub(super) fn truths(&self) -> (Vec<Truth>, Vec<String>) {
        let (mut truths, mut missing) = (Vec::new(), Vec::new());
        let mut branches: BTreeMap<u64, u32> = BTreeMap::new();
        let chains: Vec<(u64, Nonce, Vec<&Link>)> =
            self.ends.iter().map(|(epoch, last)| (*epoch, *last, self.chain(*last))).collect();
        for (epoch, last, chain) in &chains {
            let goes_on = |(other, end, longer): &&(u64, Nonce, Vec<&Link>)| {
                other == epoch && end != last && longer.iter().any(|link| link.entry.nonce == *last)
            };
            if chains.iter().any(|other| goes_on(&other)) {
                continue;
            }
            let branch = branches.entry(*epoch).or_default();
            for (index, link) in chain.iter().enumerate() {
                if index == 0 && link.entry.revision != 1 {
                    missing.push(format!("a log began with revision {}", link.entry.revision));
                }
                if link.gap {
                    missing.push(format!("a log was trimmed up to revision {}", link.entry.revision));
                }
                let position = Position { epoch: *epoch, revision: link.entry.revision };
                let (change, listed) = (link.entry.change.clone(), link.gap);
                truths.push(Truth { position, branch: *branch, change, listed });
            }
            *branch += 1;
        }
        let mut told = HashSet::new();
        missing.retain(|what| told.insert(what.clone()));
        (truths, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chains, Entry, Next, Place};
    use crate::chaos::history::Change;

    fn entry(revision: u64, nonce: u64, previous: u64) -> Entry {
        let change = Change::Delete { id: nonce.to_string(), cause: None };
        Entry { revision, nonce, previous, change }
    }

    fn add(chains: &mut Chains, entries: &[(u64, u64, u64)]) {
        entries
            .iter()
            .for_each(|(revision, nonce, previous)| chains.add(entry(*revision, *nonce, *previous), None));
    }

    /// Epoch, branch, and the nonces of its entries, those after a gap negative.
    fn told(chains: &Chains) -> Vec<(u64, u32, Vec<i64>)> {
        let mut all: Vec<(u64, u32, Vec<i64>)> = Vec::new();
        for truth in chains.truths().0 {
            let Change::Delete { id, .. } = &truth.change else { panic!("{truth:?}") };
            let nonce = id.parse::<i64>().unwrap() * if truth.listed { -1 } else { 1 };
            let of = (truth.position.epoch, truth.branch);
            match all.last_mut().filter(|last| (last.0, last.1) == of) {
                Some((_, _, nonces)) => nonces.push(nonce),
                None => all.push((of.0, of.1, vec![nonce])),
            }
        }
        all
    }

    #[test]
    fn a_log_goes_on_from_where_it_was_read_to_or_is_another_one() {
        let place = |revision, nonce| Some(Place { revision, nonce });
        let (last, head) = (place(5, 50), place(9, 90));
        assert_eq!(Next::of(None, head, Some(&entry(3, 30, 20))), Next::WithFirst);
        assert_eq!(Next::of(last, head, Some(&entry(5, 50, 40))), Next::AfterFirst);
        assert_eq!(
            Next::of(last, head, Some(&entry(6, 60, 50))),
            Next::WithFirst,
            "the last one was trimmed"
        );
        assert_eq!(Next::of(last, head, Some(&entry(8, 80, 70))), Next::AfterGap);
        assert_eq!(Next::of(last, last, None), Next::WithFirst, "all of it was trimmed");
        assert_eq!(Next::of(last, head, None), Next::WithFirst);
        for (head, first) in [
            (head, Some(entry(5, 51, 40))),
            (head, Some(entry(6, 61, 51))),
            (place(5, 51), None),
            (place(4, 40), None),
            (None, None),
        ] {
            assert_eq!(Next::of(last, head, first.as_ref()), Next::Replaced, "{head:?} {first:?}");
        }
    }

    #[test]
    fn a_history_that_took_the_place_of_another_is_another_branch_and_each_is_whole() {
        let mut chains = Chains::default();
        add(&mut chains, &[(1, 10, 1), (2, 20, 10), (3, 30, 20)]);
        chains.ends(7, 30);
        add(&mut chains, &[(3, 31, 20), (4, 41, 31)]);
        chains.ends(7, 41);
        chains.ends(8, 41);
        assert_eq!(
            told(&chains),
            [(7, 0, vec![10, 20, 30]), (7, 1, vec![10, 20, 31, 41]), (8, 0, vec![10, 20, 31, 41])]
        );
        assert_eq!(chains.truths().1, Vec::<String>::new());
    }

    #[test]
    fn what_several_servers_have_of_one_history_is_one() {
        let mut chains = Chains::default();
        add(&mut chains, &[(1, 10, 1), (2, 20, 10)]);
        chains.ends(7, 20);
        add(&mut chains, &[(1, 10, 1), (2, 20, 10), (3, 30, 20)]);
        chains.ends(7, 30);
        // Of one that lags.
        chains.ends(7, 10);
        assert_eq!(told(&chains), [(7, 0, vec![10, 20, 30])]);
        // The present one is the last.
        add(&mut chains, &[(2, 21, 10)]);
        chains.ends(7, 21);
        chains.ends(7, 30);
        assert_eq!(told(&chains), [(7, 0, vec![10, 21]), (7, 1, vec![10, 20, 30])]);
    }

    #[test]
    fn what_was_trimmed_before_it_was_read_is_missing_and_said_to_be_unless_another_server_has_it() {
        let mut chains = Chains::default();
        add(&mut chains, &[(4, 40, 3)]);
        chains.add(entry(7, 70, 60), Some(40));
        chains.ends(7, 70);
        assert_eq!(told(&chains), [(7, 0, vec![40, -70])]);
        assert_eq!(chains.truths().1, ["a log began with revision 4", "a log was trimmed up to revision 7"]);
        add(&mut chains, &[(5, 50, 40), (6, 60, 50), (7, 70, 60)]);
        assert_eq!(told(&chains), [(7, 0, vec![40, 50, 60, 70])]);
    }
}
