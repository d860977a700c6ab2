//! What happened, as far as anybody saw or was told: the log of the store, what watchers were told, what was acknowledged and listed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::deadlines::SLACK_MS;
use super::evidence::Evidence;
use super::found::{Found, Invariant};
use super::stretch::stretches;
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Change, Item, Listed, Operation, Outcome, Position, Verb};

/// What became of an instance at a revision.
#[derive(Clone, Copy, Debug)]
pub(super) enum State<'a> {
    /// It was written.
    Put { value: u64, incarnation: Option<u64> },
    /// It went, with the cause if that was told.
    Gone { cause: Option<&'a str> },
}

impl<'a> State<'a> {
    pub(super) fn of(change: &'a Change) -> Self {
        match change {
            Change::Put(listed) => Self::listed(listed),
            Change::Delete { cause, .. } => Self::Gone { cause: cause.as_deref() },
        }
    }

    pub(super) fn listed(listed: &Listed) -> Self {
        Self::Put { value: listed.value, incarnation: listed.incarnation }
    }

    /// Whether both can be true.
    pub(super) fn agrees(self, other: Self) -> bool {
        match (self, other) {
            (Self::Put { value: a, incarnation: i }, Self::Put { value: b, incarnation: j }) => {
                a == b && (i == j || i.is_none() || j.is_none())
            }
            (Self::Gone { cause: a }, Self::Gone { cause: b }) => {
                let vague = |cause: Option<&str>| cause.is_none_or(|cause| cause == "unknown");
                a == b || vague(a) || vague(b)
            }
            _ => false,
        }
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source<'a> {
    Log,
    Watcher(&'a str),
    List,
    Writer,
}

/// What became of an instance at a revision, and who says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact<'a> {
    pub(super) revision: u64,
    pub(super) id: &'a str,
    pub(super) state: State<'a>,
    /// The first line that says it.
    pub(super) line: usize,
    pub(super) at: At,
    first: Source<'a>,
    in_log: bool,
    /// Whether more than one watcher says it.
    pub(super) shared: bool,
}

/// A stretch of history.
#[derive(Debug, Default)]
struct Epoch<'a> {
    /// By revision and instance.
    facts: Vec<Fact<'a>>,
    /// After which revision, up to which, every change is known. Merged, in order.
    covered: Vec<(u64, u64)>,
    /// The first and last revision of each stretch of the store's own log.
    log: Vec<(u64, u64)>,
}

/// Two lines that cannot both be true.
#[derive(Debug)]
struct Conflict<'a> {
    position: Position,
    id: &'a str,
    pub(super) at: At,
    lines: [usize; 2],
    states: [State<'a>; 2],
}

/// What happened, as far as anybody saw or was told.
#[derive(Debug, Default)]
pub(super) struct Truth<'a> {
    epochs: BTreeMap<u64, Epoch<'a>>,
    conflicts: Vec<Conflict<'a>>,
}

/// How much is done between two looks at the clock.
pub(super) const STEPS: usize = 1_024;

impl<'a> Truth<'a> {
    /// All that the lines of a history say.
    pub(super) fn gather(evidence: &Evidence<'a>, patience: &Patience<'_>) -> Result<Self, OutOfTime> {
        let mut gathered = Gathered::default();
        for (line, truth) in &evidence.truths {
            gathered.add(
                truth.position,
                truth.change.id(),
                State::of(&truth.change),
                *line,
                At(0),
                Source::Log,
            );
        }
        for (watcher, items) in &evidence.watchers {
            for (count, (line, told)) in items.iter().enumerate() {
                if count.is_multiple_of(STEPS) {
                    patience.hold()?;
                }
                match &told.item {
                    Item::Reset { position: Some(position), listed, .. } => {
                        gathered.add_list(position.epoch, listed, *line, told.at);
                    }
                    Item::Changes { position: Some(position), changes } => {
                        for change in changes {
                            let source = Source::Watcher(watcher);
                            gathered.add(*position, change.id(), State::of(change), *line, told.at, source);
                            if let Change::Put(listed) = change {
                                gathered.add_list(
                                    position.epoch,
                                    std::slice::from_ref(listed),
                                    *line,
                                    told.at,
                                );
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        for (count, (line, op, listed)) in evidence.lookups().enumerate() {
            if count.is_multiple_of(STEPS) {
                patience.hold()?;
            }
            if let Outcome::Ok { position: Some(position), .. } = &op.outcome {
                gathered.add_list(position.epoch, listed, line, op.returned);
            }
        }
        for (line, read) in &evidence.finals {
            if let Some(position) = read.position {
                gathered.add_list(position.epoch, &read.listed, *line, read.invoked);
            }
        }
        gathered.add_acknowledged(evidence);
        let mut truth = gathered.sorted();
        truth.cover(evidence);
        Ok(truth)
    }

    fn cover(&mut self, evidence: &Evidence<'a>) {
        let tells_gaps = evidence.run.tells_gaps;
        for stretch in evidence.watchers.values().flat_map(|items| stretches(items, tells_gaps)) {
            if let Some(epoch) = self.epochs.get_mut(&stretch.epoch) {
                epoch.covered.push((stretch.start, stretch.reached));
            }
        }
        // What is read from a list ends a stretch.
        let mut goes_on: Option<u64> = None;
        for (_, truth) in &evidence.truths {
            let Position { epoch, revision } = truth.position;
            let Some(of) = self.epochs.get_mut(&epoch).filter(|_| !truth.listed) else {
                goes_on = None;
                continue;
            };
            match of.log.last_mut().filter(|_| goes_on == Some(epoch)) {
                Some((_, last)) => *last = revision.max(*last),
                None => of.log.push((revision, revision)),
            }
            goes_on = Some(epoch);
        }
        for epoch in self.epochs.values_mut() {
            epoch.covered.extend(epoch.log.iter().map(|(first, last)| (first.saturating_sub(1), *last)));
            epoch.covered.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for (from, to) in epoch.covered.drain(..) {
                match merged.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => merged.push((from, to)),
                }
            }
            epoch.covered = merged;
        }
    }

    /// What happened in `epoch` after revision `after`, up to and with `upto`, by revision.
    pub(super) fn between(&self, epoch: u64, after: u64, upto: u64) -> &[Fact<'a>] {
        let facts = self.epochs.get(&epoch).map_or(&[][..], |epoch| &epoch.facts);
        let from = facts.partition_point(|fact| fact.revision <= after);
        let to = facts.partition_point(|fact| fact.revision <= upto);
        facts.get(from..to).unwrap_or_default()
    }

    /// All that happened in each epoch.
    pub(super) fn epochs(&self) -> impl Iterator<Item = (u64, &[Fact<'a>])> {
        self.epochs.iter().map(|(epoch, of)| (*epoch, of.facts.as_slice()))
    }

    /// Whether every change in `epoch` after `after`, up to `upto`, is known.
    pub(super) fn covers(&self, epoch: u64, after: u64, upto: u64) -> bool {
        let covered = self.epochs.get(&epoch).map_or(&[][..], |epoch| &epoch.covered);
        let index = covered.partition_point(|(from, _)| *from <= after);
        after >= upto
            || index.checked_sub(1).and_then(|index| covered.get(index)).is_some_and(|(_, to)| upto <= *to)
    }
}

#[derive(Default)]
struct Gathered<'a> {
    facts: HashMap<(u64, u64, &'a str), Fact<'a>>,
    conflicts: Vec<Conflict<'a>>,
}

impl<'a> Gathered<'a> {
    fn add(
        &mut self,
        position: Position,
        id: &'a str,
        state: State<'a>,
        line: usize,
        at: At,
        source: Source<'a>,
    ) {
        let revision = position.revision;
        let in_log = source == Source::Log;
        let new = Fact { revision, id, state, line, at, first: source, in_log, shared: false };
        match self.facts.entry((position.epoch, revision, id)) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                if known.state.agrees(state) {
                    known.in_log |= in_log;
                    // A put says when it was written, which is not another who says so.
                    known.shared |= known.first != source && known.line != line;
                } else {
                    let (lines, states) = ([known.line, line], [known.state, state]);
                    self.conflicts.push(Conflict { position, id, at, lines, states });
                }
            }
        }
    }

    /// What a list of `epoch` says of when its entries were written.
    fn add_list(&mut self, epoch: u64, listed: &'a [Listed], line: usize, at: At) {
        for entry in listed {
            if let Some(revision) = entry.modified {
                let position = Position { epoch, revision };
                self.add(position, &entry.id, State::listed(entry), line, at, Source::List);
            }
        }
    }

    /// Acknowledged writes. They carry no epoch: only where it can be told they are added.
    fn add_acknowledged(&mut self, evidence: &Evidence<'a>) {
        // By instance and incarnation, the epoch if it is only one; by instance and value, that a revision is known.
        let mut epochs: HashMap<(&str, u64), Option<u64>> = HashMap::new();
        let mut known: HashMap<(&str, u64, u64), ()> = HashMap::new();
        let mut only: Option<Option<u64>> = None;
        for ((epoch, revision, id), fact) in &self.facts {
            only = Some(only.map_or(Some(*epoch), |only| only.filter(|only| only == epoch)));
            if let State::Put { value, incarnation } = fact.state {
                known.insert((id, value, *revision), ());
                if let Some(incarnation) = incarnation {
                    let one = epochs.entry((id, incarnation)).or_insert(Some(*epoch));
                    *one = one.filter(|one| one == epoch);
                }
            }
        }
        for (line, op) in &evidence.operations {
            let Some((id, value, revision)) = written(op) else { continue };
            // By whoever was about to be replaced, it may be of a branch that is lost.
            if !evidence.run.keeps_acknowledged
                && only.flatten().is_none()
                && evidence.windows.overlapping(op.invoked, op.returned.plus_ms(SLACK_MS)).is_some()
            {
                continue;
            }
            if known.contains_key(&(id, value, revision)) {
                continue;
            }
            let by_incarnation =
                || op.under().and_then(|incarnation| epochs.get(&(id, incarnation)).copied().flatten());
            let Some(epoch) = only.flatten().or_else(by_incarnation) else { continue };
            let state = State::Put { value, incarnation: op.under() };
            self.add(Position { epoch, revision }, id, state, *line, op.returned, Source::Writer);
        }
    }

    fn sorted(self) -> Truth<'a> {
        let mut epochs: BTreeMap<u64, Epoch<'a>> = BTreeMap::new();
        for ((epoch, ..), fact) in self.facts {
            epochs.entry(epoch).or_default().facts.push(fact);
        }
        for epoch in epochs.values_mut() {
            epoch.facts.sort_unstable_by(|a, b| (a.revision, a.id).cmp(&(b.revision, b.id)));
        }
        Truth { epochs, conflicts: self.conflicts }
    }
}

/// Instance, value and revision of an acknowledged write that was told its revision.
fn written(op: &Operation) -> Option<(&str, u64, u64)> {
    match (&op.outcome, op.verb) {
        (Outcome::Ok { revision: Some(revision), .. }, Verb::Register | Verb::Update) => {
            Some((op.id.as_deref()?, op.value?, *revision))
        }
        _ => None,
    }
}

/// I4: sources agree, and nothing is told that the store's own log does not know.
pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    _: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    for Conflict { position: Position { epoch, revision }, id, at, lines, states } in &truth.conflicts {
        let [one, other] = states;
        found.push(Invariant::I4, evidence.of_branches(*epoch), *at, Some(id), lines, || {
            format!("two sources disagree about {id} at {epoch}:{revision}: {one:?}, and {other:?}")
        });
    }
    for (line, told) in evidence.watchers.values().flatten() {
        let Item::Changes { position: Some(position), changes } = &told.item else { continue };
        for change in changes {
            let Change::Put(Listed { id, modified: Some(modified), .. }) = change else { continue };
            if *modified != position.revision {
                found.broken(Invariant::I4, told.at, id.as_str(), &[*line], || {
                    format!("{id} was told at revision {}, as written at {modified}", position.revision)
                });
            }
        }
    }
    for (epoch, of) in &truth.epochs {
        let stretch = |fact: &Fact<'_>| {
            of.log.iter().copied().find(|(first, last)| (*first..=*last).contains(&fact.revision))
        };
        for fact in of.facts.iter().filter(|fact| !fact.in_log) {
            let Some((first, last)) = stretch(fact) else { continue };
            let Fact { revision, id, line, at, .. } = fact;
            found.push(Invariant::I4, evidence.of_branches(*epoch), *at, Some(id), &[*line], || {
                format!("{id} at {epoch}:{revision} is not in the store's log, which has {first} to {last}")
            });
        }
    }
    Ok(())
}
