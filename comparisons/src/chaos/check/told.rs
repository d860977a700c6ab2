//! I7, of a registry without positions: a write that was acknowledged, and not followed by another, is told to everybody who watches.

use std::collections::{BTreeMap, HashMap};

use super::evidence::{Evidence, Of};
use super::found::{Found, Invariant};
use super::truth::{STEPS, Truth};
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Change, Item, Operation, Told, Verb};

/// For how long of healthy time a watcher may not know of a write, in ms.
const UNTOLD_MS: u64 = 3_000;

pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let writes = writes(evidence);
    for (watcher, items) in &evidence.watchers {
        if items.iter().any(|(_, told)| told.item.position().is_some()) {
            continue;
        }
        let diary = Diary::of(items);
        for (count, write) in writes.iter().enumerate() {
            if count.is_multiple_of(STEPS) {
                patience.hold()?;
            }
            let until = write.until.min(evidence.end);
            let Some(watching) = diary.watching(write.op.invoked) else { continue };
            let until = until.min(watching);
            let known_by = evidence.windows.healthy_after(write.op.returned, UNTOLD_MS);
            if until < known_by || diary.excused(write.op.invoked, known_by) || diary.knows(write, until) {
                continue;
            }
            let last = diary.before(until);
            let lines: Vec<usize> = [write.line].into_iter().chain(last).collect();
            found.broken(Invariant::I7, until, write.id, &lines, || {
                let (verb, value, at) = (write.op.verb, write.op.value, write.op.returned);
                let id = write.id;
                format!("{verb:?} of {id} ({value:?}) was acknowledged at {at}, and watcher {watcher} was told nothing of it by {until}")
            });
        }
    }
    Ok(())
}

/// An acknowledged write, and when the next one to the same instance was asked for.
struct Write<'a> {
    op: &'a Operation,
    id: &'a str,
    line: usize,
    until: At,
}

fn writes<'a>(evidence: &Evidence<'a>) -> Vec<Write<'a>> {
    let mut next: HashMap<&str, At> = HashMap::new();
    let mut all = Vec::new();
    for (line, op) in evidence.operations.iter().rev() {
        let (Some(id), Verb::Register | Verb::Update | Verb::Deregister) = (op.id.as_deref(), op.verb) else {
            continue;
        };
        let until = next.insert(id, op.invoked).unwrap_or(At(u64::MAX));
        // What came before it may be acknowledged later, and be done later.
        if op.is_ok() && op.returned < until {
            all.push(Write { op, id, line: *line, until });
        }
    }
    all
}

/// What a watcher was told, by instance.
#[derive(Default)]
struct Diary<'a> {
    items: Vec<(At, usize)>,
    /// From when to when it read.
    reads: Vec<(At, At)>,
    /// When it was told of trouble, or of a gap.
    excuses: Vec<At>,
    /// By instance and value, when it was told first.
    values: HashMap<(&'a str, u64), Vec<At>>,
    /// By instance, when it was told that it is there (true) or not.
    presence: BTreeMap<&'a str, Vec<(At, bool)>>,
}

impl<'a> Diary<'a> {
    fn of(items: &[Of<'a, Told>]) -> Self {
        let mut diary = Self::default();
        let mut reading: Option<At> = None;
        for (line, told) in items {
            let at = told.at;
            diary.items.push((at, *line));
            match told.item.reads() {
                // It is not told changes before it has its first list.
                Some(true) if told.item == Item::ReadsAgain => reading = Some(at),
                Some(false) => diary.reads.extend(reading.take().map(|from| (from, at))),
                _ => {}
            }
            match &told.item {
                Item::Reset { listed, gap, .. } => {
                    if gap.is_some() {
                        diary.excuses.push(at);
                    }
                    reading.get_or_insert(at);
                    let mut ids: Vec<&str> = listed.iter().map(|listed| listed.id.as_str()).collect();
                    ids.sort_unstable();
                    for (id, presence) in &mut diary.presence {
                        if ids.binary_search(id).is_err() {
                            presence.push((at, false));
                        }
                    }
                    for listed in listed {
                        diary.tell(&listed.id, Some(listed.value), at);
                    }
                }
                Item::Changes { changes, .. } => {
                    for change in changes {
                        match change {
                            Change::Put(listed) => diary.tell(&listed.id, Some(listed.value), at),
                            Change::Delete { id, .. } => diary.tell(id, None, at),
                        }
                    }
                }
                Item::Stale { .. } => diary.excuses.push(at),
                _ => {}
            }
        }
        diary.reads.extend(reading.map(|from| (from, At(u64::MAX))));
        diary
    }

    fn tell(&mut self, id: &'a str, value: Option<u64>, at: At) {
        if let Some(value) = value {
            self.values.entry((id, value)).or_default().push(at);
        }
        self.presence.entry(id).or_default().push((at, value.is_some()));
    }

    /// If it reads at `at`, until when it goes on.
    fn watching(&self, at: At) -> Option<At> {
        let index = self.reads.partition_point(|(from, _)| *from <= at).checked_sub(1)?;
        self.reads.get(index).map(|(_, to)| *to).filter(|to| at < *to)
    }

    /// Whether it was told of trouble or of a gap in that time, or was in trouble then.
    fn excused(&self, from: At, to: At) -> bool {
        let next = self.excuses.partition_point(|at| *at < from);
        let within = self.excuses.get(next).is_some_and(|at| *at <= to);
        let last = next.checked_sub(1).and_then(|before| self.excuses.get(before));
        within
            || last.is_some_and(|last| {
                let after = self.items.partition_point(|(at, _)| *at <= *last);
                self.items.get(after).is_none_or(|(at, _)| *at > from)
            })
    }

    /// Whether it was told of `write` by then.
    fn knows(&self, write: &Write<'_>, until: At) -> bool {
        let within = |at: &At| write.op.invoked <= *at && *at <= until;
        match (write.op.verb, write.op.value) {
            (Verb::Deregister, _) => {
                let presence = self.presence.get(write.id).map_or(&[][..], Vec::as_slice);
                let before = presence.partition_point(|(at, _)| *at <= until).checked_sub(1);
                let there = before.and_then(|index| presence.get(index)).is_some_and(|(_, there)| *there);
                !there || presence.iter().any(|(at, there)| !there && within(at))
            }
            (_, Some(value)) => {
                self.values.get(&(write.id, value)).is_some_and(|told| told.iter().any(|at| *at <= until))
            }
            _ => true,
        }
    }

    fn before(&self, at: At) -> Option<usize> {
        let index = self.items.partition_point(|(told, _)| *told <= at).checked_sub(1)?;
        self.items.get(index).map(|(_, line)| *line)
    }
}
