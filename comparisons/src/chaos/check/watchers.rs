//! I1 to I7: what each watcher is told is in order, once, whole, and without a gap that is not told.

use std::collections::{HashMap, HashSet};

use super::evidence::{Evidence, Of};
use super::found::{Found, Invariant, Standing};
use super::pauses::Pauses;
use super::stretch::{Closed, Stretch, stretches};
use super::truth::{STEPS, Truth};
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Change, Item, Position, Told};

/// Each watcher for itself, whatever happened.
pub(super) fn order(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    for (watcher, items) in &evidence.watchers {
        let mut sequence = Sequence::new(watcher, evidence.run.tells_gaps);
        for (count, told) in items.iter().enumerate() {
            if count.is_multiple_of(STEPS) {
                patience.hold()?;
            }
            sequence.take(*told, found);
        }
    }
    Ok(())
}

/// What they were told, held against what happened.
pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let mut denied = HashMap::new();
    for (watcher, items) in &evidence.watchers {
        for stretch in stretches(items, evidence.run.tells_gaps) {
            patience.hold()?;
            let lossy = evidence.of_branches(stretch.epoch) == Standing::Allowed;
            whole(watcher, &stretch, lossy, truth, &mut denied, found);
            if evidence.run.backend.is_ours_on_redis() {
                dense(watcher, &stretch, truth, found);
            }
        }
    }
    for ((epoch, revision, id), (at, lines)) in denied.iter().filter(|(_, (_, lines))| lines.len() > 2) {
        found.push(Invariant::I4, evidence.of_branches(*epoch), *at, Some(id), lines, || {
            format!("{id} at {epoch}:{revision} was told to one watcher only, and not to {}", lines.len() - 1)
        });
    }
    replaced(evidence, found);
    Ok(())
}

/// What one watcher says alone: when, and the lines that say it and that pass over it.
type Denied<'a> = HashMap<(u64, u64, &'a str), (At, Vec<usize>)>;

/// I7: nothing is missing in `stretch`.
fn whole<'a>(
    watcher: &str,
    stretch: &Stretch<'_>,
    lossy: bool,
    truth: &Truth<'a>,
    denied: &mut Denied<'a>,
    found: &mut Found,
) {
    let epoch = stretch.epoch;
    for fact in truth.between(epoch, stretch.start, stretch.reached) {
        let (revision, id) = (fact.revision, fact.id);
        if stretch.told.contains(&(revision, id)) {
            continue;
        }
        let Some((reached, at, line)) = stretch.passed(revision) else { continue };
        let lines = [stretch.line, fact.line, line];
        // Of a history that was replaced by another one, which was said, somebody may have seen another branch.
        let replaced = lossy
            && stretch.revisions.contains(&revision)
            && matches!(stretch.closed, Closed::By { epoch: next, said: true } if next != epoch);
        let (invariant, standing) =
            if replaced { (Invariant::I4, Standing::Allowed) } else { (Invariant::I7, Standing::Broken) };
        found.push(invariant, standing, at, Some(id), &lines, || {
            format!("watcher {watcher} is at {epoch}:{reached}, and was never told of {id} at {revision}")
        });
        if stretch.resumed && stretch.steps.first().is_some_and(|(first, ..)| revision <= *first) {
            found.push(Invariant::I5, standing, at, Some(id), &lines, || {
                let start = stretch.start;
                format!("watcher {watcher} resumed from {epoch}:{start}, and {id} at {revision} was left out")
            });
        }
        if !fact.shared {
            let (_, lines) = denied.entry((epoch, revision, id)).or_insert((at, vec![fact.line]));
            lines.push(line);
        }
    }
}

/// I7, where a service has its own revisions, one for each change: none is passed over, whether or not anybody else has seen it.
fn dense(watcher: &str, stretch: &Stretch<'_>, truth: &Truth<'_>, found: &mut Found) {
    let epoch = stretch.epoch;
    for revision in stretch.start + 1..=stretch.reached {
        let known = || !truth.between(epoch, revision - 1, revision).is_empty();
        if stretch.revisions.contains(&revision) || known() {
            continue;
        }
        let Some((reached, at, line)) = stretch.passed(revision) else { continue };
        found.broken(Invariant::I7, at, None, &[stretch.line, line], || {
            format!("watcher {watcher} is at {epoch}:{reached}, and was never told of any change at {revision}, of which nobody knows")
        });
    }
}

/// I7: who watched when something was struck, and is at a place that the store no longer knows, was told so.
fn replaced(evidence: &Evidence<'_>, found: &mut Found) {
    let Some((read_line, read)) = evidence.last_read() else { return };
    let Some(present) = read.position else { return };
    let pauses = Pauses::of(evidence);
    let shortly_before = At(read.invoked.0.saturating_sub(1_000_000));
    for (watcher, items) in &evidence.watchers {
        let mut last: Option<(Position, usize)> = None;
        let (mut reads, mut stale) = (false, false);
        for (line, told) in items.iter().filter(|(_, told)| told.at <= read.invoked) {
            if let Some(position) = told.item.position() {
                last = Some((position, *line));
            }
            reads = told.item.reads().unwrap_or(reads);
            stale = matches!(told.item, Item::Stale { .. });
        }
        let Some((position, line)) = last.filter(|_| reads && !stale) else { continue };
        // Who stood still until now has not read yet what it was told.
        if pauses.within(watcher, shortly_before, read.invoked) > 0 {
            continue;
        }
        let ahead = position.epoch == present.epoch && position.revision > present.revision;
        if ahead || position.epoch != present.epoch {
            found.broken(Invariant::I7, read.invoked, None, &[line, read_line], || {
                let Position { epoch, revision } = present;
                let (e, r) = (position.epoch, position.revision);
                format!("watcher {watcher} is at {e}:{r}, the store is at {epoch}:{revision}, and no reset was told")
            });
        }
    }
}

impl Item {
    /// Up to where it tells.
    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Self::Reset { position, .. } | Self::Changes { position, .. } | Self::Live { position } => {
                *position
            }
            Self::Started { from } => *from,
            Self::Progress { position } => Some(*position),
            _ => None,
        }
    }

    /// Whether the watcher reads from here on; none if that stays as it was.
    pub(super) fn reads(&self) -> Option<bool> {
        match self {
            Self::Started { .. } | Self::ReadsAgain => Some(true),
            Self::StopsReading | Self::Dropped | Self::Ended => Some(false),
            _ => None,
        }
    }
}

/// What the last item that had a position was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Cursor,
    Reset,
    Changes,
    Bookmark,
}

/// Where one watcher is, and how it came there.
struct Sequence<'a> {
    watcher: &'a str,
    tells_gaps: bool,
    /// Where it is, by which line.
    here: Option<(Position, usize)>,
    last: Last,
    /// Up to where a bookmark said that all was told.
    marked: Option<(u64, usize)>,
    /// The changes of the last item that had some.
    batch: HashSet<&'a str>,
}

impl<'a> Sequence<'a> {
    fn new(watcher: &'a str, tells_gaps: bool) -> Self {
        Self { watcher, tells_gaps, here: None, last: Last::Cursor, marked: None, batch: HashSet::new() }
    }

    fn take(&mut self, (line, told): Of<'a, Told>, found: &mut Found) {
        match &told.item {
            Item::Started { from } => {
                self.here = from.map(|from| (from, line));
                (self.last, self.marked) = (Last::Cursor, None);
            }
            Item::Reset { position: Some(position), gap, .. } => {
                self.reset(*position, gap.as_deref(), line, told.at, found);
            }
            Item::Changes { position: Some(position), changes } => {
                self.changes(*position, changes, line, told.at, found);
            }
            Item::Progress { position } | Item::Live { position: Some(position) } => {
                self.bookmark(*position, line, told.at, found);
            }
            _ => {}
        }
    }

    fn reset(&mut self, to: Position, gap: Option<&str>, line: usize, at: At, found: &mut Found) {
        if let Some((from, before)) = self.here {
            let (watcher, lines) = (self.watcher, [before, line]);
            if from.epoch == to.epoch && to.revision < from.revision {
                let back = if self.last == Last::Cursor { Invariant::I5 } else { Invariant::I1 };
                found.broken(back, at, None, &lines, || {
                    format!("watcher {watcher} was reset from {} back to {}", shown(from), shown(to))
                });
            }
            if gap.is_none() && self.tells_gaps {
                found.broken(Invariant::I5, at, None, &lines, || {
                    format!(
                        "watcher {watcher} was at {}, and was reset to {} without a cause",
                        shown(from),
                        shown(to)
                    )
                });
                if from.epoch != to.epoch {
                    found.broken(Invariant::I7, at, None, &lines, || {
                        format!("watcher {watcher} was not told why {} became {}", shown(from), shown(to))
                    });
                }
            }
        }
        self.here = Some((to, line));
        (self.last, self.marked) = (Last::Reset, None);
        self.batch.clear();
    }

    fn changes(&mut self, to: Position, changes: &'a [Change], line: usize, at: At, found: &mut Found) {
        let watcher = self.watcher;
        let mut ids = HashSet::new();
        for id in changes.iter().map(Change::id) {
            if !ids.insert(id) {
                found.broken(Invariant::I2, at, id, &[line], || {
                    format!("watcher {watcher} was told twice of {id} at {}, in one item", shown(to))
                });
            }
        }
        let Some((from, before)) = self.here.replace((to, line)) else {
            found.broken(Invariant::I4, at, None, &[line], || {
                format!("watcher {watcher} was told changes before all instances")
            });
            (self.last, self.batch) = (Last::Changes, ids);
            return;
        };
        let lines = [before, line];
        let say = |how: &str| format!("watcher {watcher} was told {} after {}{how}", shown(to), shown(from));
        if from.epoch != to.epoch {
            found.broken(Invariant::I1, at, None, &lines, || say(", without a reset"));
            found.broken(Invariant::I7, at, None, &lines, || say(", without a reset"));
            self.marked = None;
        } else if let Some((mark, marked)) = self.marked.filter(|(mark, _)| to.revision <= *mark) {
            found.broken(Invariant::I6, at, None, &[marked, line], || {
                say(&format!(", and a bookmark at {mark} said that all up to there was told"))
            });
        }
        if from.epoch == to.epoch && to.revision <= from.revision {
            let again = to.revision == from.revision;
            let broken = match self.last {
                Last::Cursor => Invariant::I5,
                Last::Changes if again && ids.is_disjoint(&self.batch) => Invariant::I3,
                Last::Changes | Last::Reset if again => Invariant::I2,
                Last::Bookmark if again => Invariant::I6,
                _ => Invariant::I1,
            };
            found.broken(broken, at, None, &lines, || say(""));
            // It stays where it was.
            if !again {
                self.here = Some((from, before));
            }
            if again && self.last == Last::Changes {
                ids.extend(self.batch.drain());
            }
        }
        (self.last, self.batch) = (Last::Changes, ids);
    }

    fn bookmark(&mut self, to: Position, line: usize, at: At, found: &mut Found) {
        let watcher = self.watcher;
        match self.here {
            None => found.broken(Invariant::I6, at, None, &[line], || {
                format!("watcher {watcher} got a bookmark before all instances")
            }),
            Some((from, before)) if from.epoch != to.epoch || to.revision < from.revision => {
                let broken = if self.last == Last::Cursor { Invariant::I5 } else { Invariant::I1 };
                found.broken(broken, at, None, &[before, line], || {
                    format!(
                        "watcher {watcher} was at {}, and is told a bookmark at {}",
                        shown(from),
                        shown(to)
                    )
                });
                return;
            }
            Some(_) => {}
        }
        self.here = Some((to, line));
        self.marked = Some((to.revision, line));
        self.last = Last::Bookmark;
    }
}

/// A position in words.
pub(super) fn shown(Position { epoch, revision }: Position) -> String {
    format!("{epoch}:{revision}")
}
