//! I8: after faults end, every watch and view equals the final list.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::found::{Found, Invariant};
use super::reader::CATCH_UP_MS;
use super::truth::Truth;
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Change, Final, Item, Listed, Position, Told};

/// What a reader lists at a moment: by instance, the entry and the line that told it.
type Fold<'a> = BTreeMap<&'a str, (&'a Listed, usize)>;

pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let Some((read_line, read)) = evidence.last_read() else { return Ok(()) };
    let (early, late) = (read.invoked, read.invoked.plus_ms(CATCH_UP_MS));
    for (watcher, items) in &evidence.watchers {
        patience.hold()?;
        let mut folding = Folding::default();
        let mut items = items.iter().peekable();
        while let Some((line, told)) = items.next_if(|(_, told)| told.at <= early) {
            folding.take(*line, told);
        }
        if !folding.reads {
            continue;
        }
        let then = folding.fold.clone();
        let within =
            |told: &Told| told.at <= late && !told.item.position().is_some_and(|p| is_later(p, read));
        while let Some((line, told)) = items.next_if(|(_, told)| within(told)) {
            folding.take(*line, told);
        }
        let last = folding.last;
        compare(&format!("watcher {watcher}"), last, [&then, &folding.fold], (read_line, read), found);
    }
    for (view, lines) in &evidence.views {
        patience.hold()?;
        let shown = |by: At| lines.iter().take_while(|(_, viewed)| viewed.at <= by).last();
        let fold = |by: At| -> Fold<'_> {
            let Some((line, viewed)) = shown(by) else { return Fold::new() };
            let listed = viewed.listed.iter().flatten();
            listed.map(|listed| (listed.id.as_str(), (listed, *line))).collect()
        };
        let Some((line, _)) = shown(early) else { continue };
        compare(&format!("view {view}"), *line, [&fold(early), &fold(late)], (read_line, read), found);
    }
    Ok(())
}

/// Whether an item tells of what came after the last read.
fn is_later(position: Position, read: &Final) -> bool {
    read.position.is_some_and(|read| read.epoch == position.epoch && read.revision < position.revision)
}

/// A watcher on its way.
#[derive(Default)]
struct Folding<'a> {
    fold: Fold<'a>,
    reads: bool,
    last: usize,
}

impl<'a> Folding<'a> {
    fn take(&mut self, line: usize, told: &'a Told) {
        self.last = line;
        self.reads = told.item.reads().unwrap_or(self.reads);
        match &told.item {
            Item::Reset { listed, .. } => {
                self.fold = listed.iter().map(|listed| (listed.id.as_str(), (listed, line))).collect();
            }
            Item::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(listed) => self.fold.insert(&listed.id, (listed, line)),
                        Change::Delete { id, .. } => self.fold.remove(id.as_str()),
                    };
                }
            }
            _ => {}
        }
    }
}

fn same(a: &Listed, b: &Listed) -> bool {
    a.value == b.value
        && (a.incarnation == b.incarnation || a.incarnation.is_none() || b.incarnation.is_none())
}

/// What differs in both `folds` from the last read: what changed just then may be in one of them.
fn compare(
    reader: &str,
    last: usize,
    folds: [&Fold<'_>; 2],
    (read_line, read): (usize, &Final),
    found: &mut Found,
) {
    let list: BTreeMap<&str, &Listed> =
        read.listed.iter().map(|listed| (listed.id.as_str(), listed)).collect();
    let [then, later] = folds;
    for (id, listed) in &list {
        let right = |fold: &Fold<'_>| fold.get(id).is_some_and(|(here, _)| same(here, listed));
        if !right(then) && !right(later) {
            let here = then.get(id);
            let line = here.map_or(last, |(_, line)| *line);
            found.broken(Invariant::I8, read.invoked, *id, &[line, read_line], || match here {
                Some((here, _)) => {
                    format!("{reader} has {id} with {}, the final list has {}", here.value, listed.value)
                }
                None => format!("{reader} lacks {id}, which is in the final list"),
            });
        }
    }
    for (id, (_, line)) in then.iter().filter(|(id, _)| !list.contains_key(*id) && later.contains_key(*id)) {
        found.broken(Invariant::I8, read.invoked, *id, &[*line, read_line], || {
            format!("{reader} has {id}, which is not in the final list")
        });
    }
}
