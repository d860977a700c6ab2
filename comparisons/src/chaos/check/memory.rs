//! I16: a consumer that does not read costs bounded memory, and is told once that it missed something.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Of};
use super::found::{Found, Invariant};
use super::truth::Truth;
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Item, Note, Told};

/// What a process may grow by while one of its consumers does not read, in KiB. A queue that is full holds some MiB.
const GROWTH_KB: f64 = 128.0 * 1_024.0;

/// How many changes may wait for a consumer: what our queues hold (4,096), and what is on its way from a store.
const WAITING: usize = 6_000;

/// Notes of the memory used by a process begin with this.
const RESIDENT: &str = "resident_kb";

/// Notes of how many changes wait begin with this.
const QUEUED: &str = "queued";

pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let mut figures: BTreeMap<&str, Vec<Of<'_, Note>>> = BTreeMap::new();
    for (line, note) in evidence.notes.iter().filter(|(_, note)| note.figure.is_some()) {
        figures.entry(&note.what).or_default().push((*line, note));
    }
    for (watcher, items) in &evidence.watchers {
        patience.hold()?;
        for (index, (line, told)) in items.iter().enumerate() {
            match told.item {
                Item::StopsReading => {
                    let rest = items.iter().skip(index + 1);
                    let mut ends = rest.filter(|(_, told)| told.item.reads().is_some());
                    let until = ends.next().map_or(evidence.end, |(_, told)| told.at);
                    grows(watcher, (told.at, until), *line, &figures, found);
                }
                Item::ReadsAgain => waited(watcher, *line, items.get(index + 1..).unwrap_or_default(), found),
                _ => {}
            }
        }
    }
    Ok(())
}

fn grows(
    watcher: &str,
    (from, until): (At, At),
    line: usize,
    figures: &BTreeMap<&str, Vec<Of<'_, Note>>>,
    found: &mut Found,
) {
    for (what, notes) in figures {
        let before =
            notes.partition_point(|(_, note)| note.at <= from).checked_sub(1).and_then(|i| notes.get(i));
        let within = || notes.iter().filter(|(_, note)| from < note.at && note.at <= until);
        let highest = within()
            .max_by(|(_, a), (_, b)| a.figure.partial_cmp(&b.figure).unwrap_or(std::cmp::Ordering::Equal));
        let first = before.or_else(|| within().next());
        let (Some((first_line, first)), Some((high_line, high))) = (first, highest) else { continue };
        let (Some(then), Some(now)) = (first.figure, high.figure) else { continue };
        let too_much = what.starts_with(RESIDENT) && now - then > GROWTH_KB
            || what.starts_with(QUEUED) && now > f64::from(u32::try_from(WAITING).unwrap_or(u32::MAX));
        if too_much {
            found.broken(Invariant::I16, high.at, None, &[line, *first_line, *high_line], || {
                format!("while watcher {watcher} did not read, {what} went from {then} to {now}")
            });
        }
    }
}

/// What waited for a consumer that reads again: not too much, and at most one reset that says so.
fn waited(watcher: &str, line: usize, items: &[Of<'_, Told>], found: &mut Found) {
    let (mut changes, mut reset) = (0, None);
    for (next, told) in items {
        match &told.item {
            Item::Changes { changes: more, .. } => changes += more.len(),
            Item::Reset { gap: Some(gap), .. } if gap == "overflow" => {
                if let Some(before) = reset.replace(*next) {
                    found.broken(Invariant::I16, told.at, None, &[line, before, *next], || {
                        format!("watcher {watcher} reads again, and was told twice of an overflow")
                    });
                    return;
                }
                // What comes now was not held for it.
                changes = 0;
            }
            // What comes after it was out of reach is read from the store's history, and was not held for it.
            Item::Stale { .. }
            | Item::Progress { .. }
            | Item::Live { .. }
            | Item::Started { .. }
            | Item::StopsReading => return,
            _ => {}
        }
        if changes > WAITING {
            found.broken(Invariant::I16, told.at, None, &[line, *next], || {
                format!("{changes} changes had waited for watcher {watcher}, which did not read")
            });
            return;
        }
    }
}
