//! A history, sorted by who says what.

use std::collections::BTreeMap;

use super::found::Standing;
use super::windows::Windows;
use crate::chaos::fault::Fault;
use crate::chaos::history::{
    At, Final, Line, Listed, Nemesis, Note, Operation, Outcome, Owner, Run, Told, Truth, Verb, Viewed,
};

/// A line with its index in the history.
pub(super) type Of<'a, T> = (usize, &'a T);

/// Who did something to an instance: an incarnation, or, of a registry that has none, a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder<'a> {
    Incarnation(u64),
    Client(&'a str),
}

/// A history, sorted by who says what; each in the order of time.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) run: &'a Run,
    pub(super) operations: Vec<Of<'a, Operation>>,
    pub(super) watchers: BTreeMap<&'a str, Vec<Of<'a, Told>>>,
    pub(super) views: BTreeMap<&'a str, Vec<Of<'a, Viewed>>>,
    pub(super) owners: Vec<Of<'a, Owner>>,
    pub(super) truths: Vec<Of<'a, Truth>>,
    pub(super) finals: Vec<Of<'a, Final>>,
    pub(super) notes: Vec<Of<'a, Note>>,
    pub(super) nemesis: Vec<&'a Nemesis>,
    pub(super) windows: Windows,
    /// The time of the last line.
    pub(super) end: At,
}

impl<'a> Evidence<'a> {
    /// None without a line that says what is played.
    pub(super) fn read(history: &'a [Line]) -> Option<Self> {
        let run = history.iter().find_map(|line| if let Line::Run(run) = line { Some(run) } else { None })?;
        let mut all = Self {
            run,
            operations: Vec::new(),
            watchers: BTreeMap::new(),
            views: BTreeMap::new(),
            owners: Vec::new(),
            truths: Vec::new(),
            finals: Vec::new(),
            notes: Vec::new(),
            nemesis: Vec::new(),
            windows: Windows::default(),
            end: At(0),
        };
        for (index, line) in history.iter().enumerate() {
            let at = match line {
                Line::Run(_) => continue,
                Line::Operation(op) => {
                    all.operations.push((index, op));
                    op.returned
                }
                Line::Told(told) => {
                    all.watchers.entry(&told.watcher).or_default().push((index, told));
                    told.at
                }
                Line::Viewed(viewed) => {
                    all.views.entry(&viewed.view).or_default().push((index, viewed));
                    viewed.at
                }
                Line::Owner(owner) => {
                    all.owners.push((index, owner));
                    owner.at
                }
                Line::Nemesis(step) => {
                    all.nemesis.push(step);
                    step.at
                }
                Line::Truth(truth) => {
                    all.truths.push((index, truth));
                    continue;
                }
                Line::Final(read) => {
                    all.finals.push((index, read));
                    read.invoked
                }
                Line::Note(note) => {
                    all.notes.push((index, note));
                    note.at
                }
            };
            all.end = all.end.max(at);
        }
        all.nemesis.sort_by_key(|step| step.at);
        all.windows = Windows::of(all.nemesis.iter().copied());
        all.operations.sort_by_key(|(_, op)| op.invoked);
        all.watchers.values_mut().for_each(|items| items.sort_by_key(|(_, told)| told.at));
        all.views.values_mut().for_each(|items| items.sort_by_key(|(_, viewed)| viewed.at));
        all.owners.sort_by_key(|(_, owner)| owner.at);
        all.finals.sort_by_key(|(_, read)| read.invoked);
        all.notes.sort_by_key(|(_, note)| note.at);
        Some(all)
    }

    /// The last of the last reads.
    pub(super) fn last_read(&self) -> Option<Of<'a, Final>> {
        self.finals.last().copied()
    }

    /// What it counts for that two things are said of one place in `epoch`. Of a history that was replaced, where acknowledged writes may be lost, there
    /// may have been two branches; a wipe alone leaves none.
    pub(super) fn of_branches(&self, epoch: u64) -> Standing {
        let present = self.last_read().and_then(|(_, read)| read.position).map(|position| position.epoch);
        let lost = !self.run.keeps_acknowledged && self.windows.first().is_some();
        let branches = lost && self.run.faults.iter().any(|fault| *fault != Fault::Wipe);
        if branches && present.is_some_and(|present| present != epoch) {
            Standing::Allowed
        } else {
            Standing::Broken
        }
    }

    /// All lookups that were answered: line, operation and what was listed.
    pub(super) fn lookups(&self) -> impl Iterator<Item = (usize, &'a Operation, &'a [Listed])> + '_ {
        self.operations.iter().filter(|(_, op)| op.verb == Verb::Lookup).filter_map(|(line, op)| {
            match &op.outcome {
                Outcome::Ok { listed: Some(listed), .. } => Some((*line, *op, listed.as_slice())),
                _ => None,
            }
        })
    }
}

impl Operation {
    /// Whether it was acknowledged.
    pub(super) fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    /// Whether it may have been done.
    pub(super) fn may_be_done(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed { .. })
    }

    /// Under which incarnation it was done, if that was told.
    pub(super) fn under(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok { incarnation: Some(incarnation), .. } => Some(incarnation),
            _ => self.incarnation,
        }
    }

    /// Whose operation it is.
    pub(super) fn holder(&self) -> Holder<'_> {
        self.under().map_or(Holder::Client(&self.client), Holder::Incarnation)
    }
}

/// By `process.number`, the process.
pub(super) fn process(name: &str) -> &str {
    name.split_once('.').map_or(name, |(process, _)| process)
}
