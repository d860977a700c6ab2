//! Defects to plant into good histories, as a table.

#![allow(clippy::ptr_arg, reason = "all that plant are of one type")]

mod listed;
mod owned;
mod told;

use fastrand::Rng;

use self::listed::*;
use self::owned::*;
use self::told::*;
use super::model::TTL;
use crate::chaos::check::Invariant;
use crate::chaos::history::{
    At, Change, Item, Line, Listed, Operation, Outcome, Position, Step, Told, Verb, Viewed,
};

/// A defect, and which invariant it breaks.
pub(super) struct Mutation {
    pub(super) name: &'static str,
    pub(super) breaks: Invariant,
    /// Whether it is planted into a history without revisions.
    pub(super) naive: bool,
    /// None where it does not apply.
    pub(super) plant: fn(&mut Vec<Line>, &mut Rng) -> Option<()>,
}

const fn ours(
    name: &'static str,
    breaks: Invariant,
    plant: fn(&mut Vec<Line>, &mut Rng) -> Option<()>,
) -> Mutation {
    Mutation { name, breaks, naive: false, plant }
}

const fn naive(
    name: &'static str,
    breaks: Invariant,
    plant: fn(&mut Vec<Line>, &mut Rng) -> Option<()>,
) -> Mutation {
    Mutation { name, breaks, naive: true, plant }
}

pub(super) const ALL: &[Mutation] = &[
    ours("an event is dropped", Invariant::I7, drop_event),
    ours("the words of a wipe are forgotten", Invariant::I7, |history, _| forget_gap(history, "wiped")),
    ours("an acknowledged update is told to nobody", Invariant::I7, tell_nobody),
    ours("a watcher stays in an old epoch", Invariant::I7, stay_behind),
    ours("a put becomes a deletion", Invariant::I4, fake_delete),
    ours("a value is another one", Invariant::I4, |history, random| {
        with_put(history, random, |listed| listed.value += 1_000_000)
    }),
    ours("an instance that never was is told", Invariant::I4, ghost_event),
    ours("a reset lacks an entry", Invariant::I4, short_reset),
    ours("a view lacks an entry in the end", Invariant::I8, short_view),
    ours("a watcher has another value in the end", Invariant::I8, |history, _| other_end(history)),
    ours("events are swapped", Invariant::I1, swap),
    ours("a bookmark moves back", Invariant::I1, move_back),
    ours("a reset moves back", Invariant::I1, reset_back),
    ours("an event is told twice", Invariant::I2, duplicate),
    ours("a batch is split", Invariant::I3, split),
    ours("what comes first after a resumption is left out", Invariant::I5, skip_resumed),
    ours("a reset has no cause", Invariant::I5, |history, _| forget_gap(history, "")),
    ours("a bookmark comes too early", Invariant::I6, early_bookmark),
    ours("a lookup lists who is dead", Invariant::I9, |history, random| ghost_lookup(history, random)),
    ours("a watcher is not told of an end", Invariant::I9, untold_end),
    ours("a view lists who is dead", Invariant::I9, ghost_view),
    ours("who has left had expired", Invariant::I10, early_expiry),
    ours("a lookup lacks who is alive", Invariant::I10, short_lookup),
    ours("the final list lacks an instance", Invariant::I11, |history, _| short_final_kept(history)),
    ours("the final list lacks who says that it is registered", Invariant::I14, |history, _| {
        short_final(history)
    }),
    ours("the final list has an older value", Invariant::I11, older_final),
    ours("an old incarnation renews", Invariant::I12, old_renews),
    ours("an old incarnation updates", Invariant::I12, old_updates),
    ours("an old incarnation removes the newer", Invariant::I12, old_removes),
    ours("a newer incarnation is overwritten by an older one", Invariant::I12, overwritten),
    ours("a view is emptied in an outage", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| viewed.listed = Some(Vec::new()))
    }),
    ours("a view loses one in an outage", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| drop(viewed.listed.as_mut().and_then(Vec::pop)))
    }),
    ours("a view is emptied just before it is live again", Invariant::I13, emptied_before_live),
    ours("a view loses its list", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| viewed.listed = None)
    }),
    ours("an owner does not come back", Invariant::I14, |history, _| stay_away(history)),
    ours("a watcher falls silent", Invariant::I15, fall_silent),
    ours("a view is live without proof", Invariant::I15, unproven),
    ours("a stopped consumer costs memory", Invariant::I16, grow),
    ours("an overflow is told twice", Invariant::I16, overflow_twice),
    ours("all that was written waits for who does not read", Invariant::I16, all_waits),
    ours("a lookup is of the past", Invariant::I17, old_lookup),
    ours("answers and lists swap the revisions of two writes", Invariant::I17, swapped_revisions),
    ours("a lookup lacks an entry", Invariant::I17, short_lookup),
    naive("an event is dropped", Invariant::I7, drop_lasting),
    naive("a departure is not told", Invariant::I7, drop_departure),
    naive("a watcher lacks an entry in the end", Invariant::I8, |history, _| other_end(history)),
    naive("a lookup lists who is dead", Invariant::I9, |history, random| ghost_lookup(history, random)),
    naive("a lookup lacks who is alive", Invariant::I10, short_lookup_early),
    naive("the final list lacks an instance", Invariant::I11, |history, _| short_final_kept(history)),
    naive("an old owner renews", Invariant::I12, old_renews),
    naive("an owner does not come back", Invariant::I14, |history, _| stay_away(history)),
];

fn choose<T>(all: Vec<T>, random: &mut Rng) -> Option<T> {
    let mut all = all;
    (!all.is_empty()).then(|| all.swap_remove(random.usize(..all.len())))
}

fn told(line: &Line) -> Option<&Told> {
    if let Line::Told(told) = line { Some(told) } else { None }
}

fn told_mut(line: &mut Line) -> Option<&mut Told> {
    if let Line::Told(told) = line { Some(told) } else { None }
}

fn operation(line: &Line) -> Option<&Operation> {
    if let Line::Operation(op) = line { Some(op) } else { None }
}

fn operation_mut(line: &mut Line) -> Option<&mut Operation> {
    if let Line::Operation(op) = line { Some(op) } else { None }
}

fn changes(line: &Line) -> Option<(&Told, Option<Position>, &[Change])> {
    let told = told(line)?;
    if let Item::Changes { position, changes } = &told.item { Some((told, *position, changes)) } else { None }
}

/// The indices of all lines that `wanted` wants.
fn all(history: &[Line], wanted: impl Fn(&Line) -> bool) -> Vec<usize> {
    (0..history.len()).filter(|index| wanted(&history[*index])).collect()
}

/// What the same watcher is told next.
fn next(history: &[Line], index: usize) -> Option<usize> {
    let watcher = &told(&history[index])?.watcher;
    (index + 1..history.len()).find(|next| told(&history[*next]).is_some_and(|told| told.watcher == *watcher))
}

/// Items with changes after which the same watcher goes on without a reset.
fn events(history: &[Line]) -> Vec<usize> {
    let goes_on = |index: &usize| {
        next(history, *index).is_some_and(|next| {
            matches!(
                told(&history[next]).map(|told| &told.item),
                Some(Item::Changes { .. } | Item::Progress { .. })
            )
        })
    };
    all(history, |line| changes(line).is_some()).into_iter().filter(goes_on).collect()
}
