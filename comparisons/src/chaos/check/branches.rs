//! Histories that took each other's place under one name: a backup that was put back, or a replica that took over, goes by the epoch of what it replaces until
//! somebody notices. Where the store's own logs show several, each is checked as an epoch of its own, and what was told or listed belongs to the one that it agrees
//! with most. Whoever was told of two of them as if they were one is found here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::evidence::{Evidence, Of};
use super::found::{Found, Invariant};
use super::truth::{State, Truth};
use super::watchers::shown;
use super::{OutOfTime, Patience};
use crate::chaos::history::{self, At, Change, Item, Line, Listed, Outcome, Position, Told};

/// What a log says of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// That it was made.
    Same,
    /// That it was not.
    Another,
    /// Nothing: it does not reach so far.
    Nothing,
}

/// A change: revision, instance, and what became of it.
type Made<'a> = (u64, &'a str, State<'a>);

/// One history, as the store's log has it.
#[derive(Default)]
struct Log<'a> {
    /// The branches that are this one.
    branches: BTreeSet<u32>,
    changes: BTreeMap<(u64, &'a str), State<'a>>,
    /// From which revision to which it has everything.
    ranges: Vec<(u64, u64)>,
    /// Whether some of it is read from lists, so that what went in between is not known.
    has_gaps: bool,
}

impl<'a> Log<'a> {
    fn says(&self, (revision, id, state): Made<'a>) -> Says {
        let within = || self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&revision));
        match self.changes.get(&(revision, id)) {
            Some(known) if known.agrees(state) => Says::Same,
            Some(_) => Says::Another,
            None if within() => Says::Another,
            None => Says::Nothing,
        }
    }

    /// Whether all of it is in `other`, too.
    fn is_part_of(&self, other: &Self) -> bool {
        self.changes.iter().all(|((revision, id), state)| other.says((*revision, id, *state)) == Says::Same)
    }

    /// Whether there is a change at this revision.
    fn reaches(&self, revision: u64) -> bool {
        self.changes.range((revision, "")..(revision + 1, "")).next().is_some()
    }

    /// Whether a list is not of this one: it has what was not written here, or, of `others`, what was written only there; or it lacks something.
    fn differs(&self, (position, listed): (Position, &'a [Listed]), others: &[Self]) -> usize {
        let made = |entry: &'a Listed| Some((entry.modified?, entry.id.as_str(), State::listed(entry)));
        let wrong = listed.iter().filter_map(made).filter(|made| self.lacks(*made, others)).count();
        let mut present: BTreeMap<&str, u64> = BTreeMap::new();
        for ((revision, id), state) in self.changes.range(..(position.revision + 1, "")) {
            match state {
                State::Put { .. } => present.insert(id, *revision),
                State::Gone { .. } => present.remove(id),
            };
        }
        let known: HashMap<&str, u64> =
            listed.iter().filter_map(|entry| Some((entry.id.as_str(), entry.modified?))).collect();
        let missing = |(id, revision): &(&&str, &u64)| known.get(**id).is_none_or(|known| known < *revision);
        wrong + present.iter().filter(missing).count()
    }

    /// Whether a change is not of this one: it was not made here, or nobody knows of it here, and it was made in another.
    fn lacks(&self, made: Made<'a>, others: &[Self]) -> bool {
        match self.says(made) {
            Says::Same => false,
            Says::Another => true,
            Says::Nothing => others.iter().any(|other| other.says(made) == Says::Same),
        }
    }
}

/// The histories of each epoch that the store's logs have, in the order of their branches.
type Logs<'a> = BTreeMap<u64, Vec<Log<'a>>>;

/// Epoch and branch of histories, by those that they were given later.
type Renamed = BTreeMap<(u64, u32), (u64, u32)>;

/// Also, by the name that a history was given at last, the one before.
fn logs<'a>(evidence: &Evidence<'a>) -> (Logs<'a>, Renamed) {
    let mut all: BTreeMap<(u64, u32), Log<'a>> = BTreeMap::new();
    // What is read from a list ends a range.
    let mut goes_on = None;
    // By the name that a history was given at last, the one before: it begins with what was there by that.
    let mut renamed = Renamed::new();
    let mut before = None;
    for (_, truth) in &evidence.truths {
        let (of, revision) = ((truth.position.epoch, truth.branch), truth.position.revision);
        if let Some(before) = before.filter(|before| *before != of && truth.listed && !all.contains_key(&of))
        {
            renamed.insert(of, before);
        }
        let is_there = |known: &(u64, u32)| {
            let made = (revision, truth.change.id(), State::of(&truth.change));
            all.get(known).is_some_and(|log| log.says(made) == Says::Same)
        };
        if truth.listed && renamed.get(&of).is_some_and(|known| !is_there(known)) {
            renamed.remove(&of);
        }
        before = Some(of);
        let log = all.entry(of).or_default();
        log.branches.insert(truth.branch);
        log.changes.insert((revision, truth.change.id()), State::of(&truth.change));
        if truth.listed {
            log.has_gaps = true;
            goes_on = None;
            continue;
        }
        match log.ranges.last_mut().filter(|_| goes_on == Some(of)) {
            Some((_, last)) => *last = revision.max(*last),
            None => log.ranges.push((revision, revision)),
        }
        goes_on = Some(of);
    }
    // Whoever does not know of the new name yet is told what comes then by the old one.
    renamed.retain(|of, known| {
        let Some(log) = all.get(of) else { return false };
        let (first, ranges) = (log.ranges.first().map(|(first, _)| *first), log.ranges.clone());
        let later = log.changes.range((first.unwrap_or(u64::MAX), "")..);
        let later: Vec<_> = later.map(|(made, state)| (*made, *state)).collect();
        let Some(log) = all.get_mut(known) else { return false };
        // What was put back ends before what it took the place of, and is another one.
        let end = log.changes.last_key_value().map(|((end, _), _)| *end);
        if end.is_some_and(|end| first.is_none_or(|first| first <= end)) {
            return false;
        }
        log.changes.extend(later);
        log.ranges.extend(ranges);
        true
    });
    let mut logs: Logs<'a> = BTreeMap::new();
    for ((epoch, _), log) in all {
        let of = logs.entry(epoch).or_default();
        // Read once more, or further, it is no other.
        let (same, mut others): (Vec<_>, Vec<_>) =
            std::mem::take(of).into_iter().partition(|other| other.is_part_of(&log));
        match others.iter_mut().find(|other| log.is_part_of(other)) {
            Some(other) => other.branches.extend(log.branches),
            None => {
                let mut log = log;
                log.branches.extend(same.into_iter().flat_map(|one| one.branches));
                others.push(log);
            }
        }
        *of = others;
    }
    (logs, renamed)
}

/// One thing that a watcher was told.
#[derive(Clone, Copy)]
enum Word<'a> {
    Change(Made<'a>),
    /// That this is all up to here, where nothing was told.
    Reached(u64),
}

/// What a watcher was told from a list, or a cursor, to the next list. That it was away for a while, and went on from where it was, ends nothing.
struct Passage<'a> {
    epoch: u64,
    from: u64,
    to: u64,
    list: Option<((Position, &'a [Listed]), usize)>,
    told: Vec<(Word<'a>, Of<'a, Told>)>,
    lines: Vec<usize>,
}

impl<'a> Passage<'a> {
    fn new(at: Position) -> Self {
        Self {
            epoch: at.epoch,
            from: at.revision,
            to: at.revision,
            list: None,
            told: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn all(items: &[Of<'a, Told>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (line, told) in items {
            let Some(position) = told.item.position() else {
                continue;
            };
            let goes_on = match &told.item {
                Item::Reset { .. } => false,
                Item::Started { .. } => all.last().is_some_and(|last| last.to == position.revision),
                _ => true,
            };
            if !goes_on || all.last().is_none_or(|last| last.epoch != position.epoch) {
                let before = if matches!(told.item, Item::Changes { .. }) { 1 } else { 0 };
                all.push(Self::new(Position {
                    revision: position.revision.saturating_sub(before),
                    ..position
                }));
            }
            let Some(here) = all.last_mut() else { continue };
            here.lines.push(*line);
            match &told.item {
                Item::Reset { listed, .. } => here.list = Some(((position, listed.as_slice()), *line)),
                Item::Changes { changes, .. } => {
                    let made =
                        |change| Word::Change((position.revision, Change::id(change), State::of(change)));
                    here.told.extend(changes.iter().map(|change| (made(change), (*line, *told))));
                }
                _ if position.revision > here.to => {
                    here.told.push((Word::Reached(position.revision), (*line, *told)));
                }
                _ => {}
            }
            here.to = here.to.max(position.revision);
        }
        all
    }

    fn changes(&self) -> impl Iterator<Item = Made<'a>> + '_ {
        self.told.iter().filter_map(|(word, _)| match word {
            Word::Change(made) => Some(*made),
            Word::Reached(_) => None,
        })
    }

    fn differs(&self, log: &Log<'a>, logs: &[Log<'a>]) -> usize {
        let wrong = self.changes().filter(|made| log.lacks(*made, logs)).count();
        let told: BTreeSet<(u64, &str)> = self.changes().map(|(revision, id, _)| (revision, id)).collect();
        let passed = log.changes.range((self.from + 1, "")..(self.to + 1, ""));
        let missing = passed.filter(|(of, _)| !told.contains(of)).count();
        wrong + missing + self.list.map_or(0, |(list, _)| log.differs(list, logs))
    }

    /// What it was told that is of none of the histories that something it was told later is of: each of both, by revision, line, and what it is about.
    /// What no log has may be the end of a history that was gone before anybody could read it.
    fn goes_over(&self, logs: &[Log<'a>], is_dense: bool) -> Option<GoesOver<'a>> {
        // By log, the last thing that is not of it.
        let mut against: Vec<Option<(u64, usize)>> = vec![None; logs.len()];
        if let Some((list, line)) = self.list.filter(|_| logs.len() > 1) {
            for (log, against) in logs.iter().zip(&mut against) {
                if !log.has_gaps && log.differs(list, logs) > 0 {
                    *against = Some((list.0.revision, line));
                }
            }
        }
        for (word, (line, told)) in &self.told {
            let is_of = |log: &Log<'a>| match word {
                Word::Change(made) => log.says(*made) == Says::Same,
                Word::Reached(revision) => is_dense && log.reaches(*revision),
            };
            let of: Vec<_> = logs.iter().zip(&against).filter(|(log, _)| is_of(log)).collect();
            let revision = match word {
                Word::Change((revision, ..)) | Word::Reached(revision) => *revision,
            };
            if !of.is_empty() && of.iter().all(|(_, against)| against.is_some()) {
                let before = of.into_iter().filter_map(|(_, against)| *against).max()?;
                let id = if let Word::Change((_, id, _)) = word { Some(*id) } else { None };
                return Some(GoesOver { before, after: (revision, *line), at: told.at, id });
            }
            let Word::Change(made) = word else { continue };
            for (log, against) in logs.iter().zip(&mut against) {
                if log.says(*made) == Says::Another {
                    *against = Some((revision, *line));
                }
            }
        }
        None
    }
}

/// Two things of different histories: revision and line of each; when the second one was told, and about whom.
struct GoesOver<'a> {
    before: (u64, usize),
    after: (u64, usize),
    at: At,
    id: Option<&'a str>,
}

/// I7: nobody is told of one history, and then of another that took its place, as if they were one.
pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let (logs, _) = logs(evidence);
    // There every revision is a change of the service.
    let is_dense = evidence.run.backend.is_ours_on_redis();
    for (watcher, items) in &evidence.watchers {
        patience.hold()?;
        for passage in Passage::all(items) {
            let Some(logs) = logs.get(&passage.epoch) else { continue };
            let Some(GoesOver { before, after, at, id }) = passage.goes_over(logs, is_dense) else {
                continue;
            };
            found.broken(Invariant::I7, at, id, &[before.1, after.1], || {
                let at = |revision| shown(Position { epoch: passage.epoch, revision });
                let (before, after) = (at(before.0), at(after.0));
                format!("watcher {watcher} was told {before} of one history and {after} of another, and no reset between")
            });
        }
    }
    Ok(())
}

/// A history in which each branch has a name of its own.
pub(super) struct Apart {
    pub(super) lines: Vec<Line>,
    /// By new name, the epoch and the branch.
    names: BTreeMap<u64, (u64, u32)>,
}

impl Apart {
    /// The same words, with names that the history has.
    pub(super) fn in_words_of_the_history(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (name, (epoch, branch)) in &self.names {
            words = words.replace(&name.to_string(), &format!("{epoch}/{branch}"));
        }
        words
    }
}

/// `history` with its branches told apart, and what comes under a later name told by the one before, too; none if there is neither.
pub(super) fn apart(history: &[Line], evidence: &Evidence<'_>) -> Option<Apart> {
    let (logs, renamed) = logs(evidence);
    if logs.values().all(|logs| logs.len() < 2) && renamed.is_empty() {
        return None;
    }
    let mut names = Names { taken: logs.keys().copied().collect(), given: BTreeMap::new() };
    let mut lines = history.to_vec();
    let mut again = Vec::new();
    for (line, truth) in &evidence.truths {
        let epoch = truth.position.epoch;
        let of = logs
            .get(&epoch)
            .and_then(|logs| logs.iter().position(|log| log.branches.contains(&truth.branch)));
        rename(&mut lines, *line, names.of(epoch, of.unwrap_or_default()));
        // What comes under a later name is so by the one before, too.
        let before = renamed.get(&(epoch, truth.branch)).filter(|_| !truth.listed);
        let Some((epoch, branch)) = before else { continue };
        let of = logs.get(epoch).and_then(|logs| logs.iter().position(|log| log.branches.contains(branch)));
        let position = Position { epoch: names.of(*epoch, of.unwrap_or_default()), ..truth.position };
        again.push(Line::Truth(history::Truth { position, branch: 0, ..(*truth).clone() }));
    }
    lines.extend(again);
    for items in evidence.watchers.values() {
        for passage in Passage::all(items) {
            let of = likest(logs.get(&passage.epoch), |log, logs| passage.differs(log, logs));
            let name = names.of(passage.epoch, of);
            passage.lines.iter().for_each(|line| rename(&mut lines, *line, name));
        }
    }
    let looked = evidence.lookups().filter_map(|(line, op, listed)| match op.outcome {
        Outcome::Ok { position, .. } => Some((line, position?, listed)),
        _ => None,
    });
    let last = evidence
        .finals
        .iter()
        .filter_map(|(line, read)| Some((*line, read.position?, read.listed.as_slice())));
    for (line, position, listed) in looked.chain(last) {
        let of = likest(logs.get(&position.epoch), |log, logs| log.differs((position, listed), logs));
        rename(&mut lines, line, names.of(position.epoch, of));
    }
    let names = names.given.into_iter().map(|((epoch, of), name)| (name, (epoch, of))).collect();
    Some(Apart { lines, names })
}

/// Which of `logs` differs the least; of those that differ as little, the last, which is there longest.
fn likest<'l, 'a>(
    logs: Option<&'l Vec<Log<'a>>>,
    differs: impl Fn(&'l Log<'a>, &'l [Log<'a>]) -> usize,
) -> usize {
    let logs = logs.map_or(&[][..], Vec::as_slice);
    (0..logs.len()).rev().min_by_key(|index| differs(&logs[*index], logs)).unwrap_or_default()
}

/// Names for branches, which no epoch has.
struct Names {
    taken: BTreeSet<u64>,
    given: BTreeMap<(u64, u32), u64>,
}

impl Names {
    /// The first one keeps the name of the epoch.
    fn of(&mut self, epoch: u64, index: usize) -> u64 {
        let branch = u32::try_from(index).unwrap_or(u32::MAX);
        if branch == 0 {
            return epoch;
        }
        let taken = &mut self.taken;
        *self.given.entry((epoch, branch)).or_insert_with(|| {
            // Far from all others, so that no number in a message is taken for it.
            let mut name = epoch.wrapping_add(u64::from(branch)) | 1 << 63;
            while !taken.insert(name) {
                name = name.wrapping_add(1);
            }
            name
        })
    }
}

fn rename(lines: &mut [Line], line: usize, epoch: u64) {
    let position = match lines.get_mut(line) {
        Some(Line::Truth(truth)) => Some(&mut truth.position),
        Some(Line::Final(read)) => read.position.as_mut(),
        Some(Line::Operation(op)) => match &mut op.outcome {
            Outcome::Ok { position, .. } => position.as_mut(),
            _ => None,
        },
        Some(Line::Told(told)) => match &mut told.item {
            Item::Started { from: position }
            | Item::Reset { position, .. }
            | Item::Changes { position, .. }
            | Item::Live { position } => position.as_mut(),
            Item::Progress { position } => Some(position),
            _ => None,
        },
        _ => None,
    };
    if let Some(position) = position {
        position.epoch = epoch;
    }
}
