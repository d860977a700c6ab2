//! Defects to plant into good histories, as a table.

#![allow(clippy::ptr_arg, reason = "all that plant are of one type")]

use fastrand::Rng;

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
    ours("who has left had expired", Invariant::I10, early_expiry),
    ours("a lookup lacks who is alive", Invariant::I10, short_lookup),
    ours("the final list lacks an instance", Invariant::I11, |history, _| short_final(history)),
    ours("the final list has an older value", Invariant::I11, older_final),
    ours("an old incarnation renews", Invariant::I12, old_renews),
    ours("an old incarnation removes the newer", Invariant::I12, old_removes),
    ours("a view is emptied in an outage", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| viewed.listed = Some(Vec::new()))
    }),
    ours("a view loses one in an outage", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| drop(viewed.listed.as_mut().and_then(Vec::pop)))
    }),
    ours("a view loses its list", Invariant::I13, |history, random| {
        in_outage(history, random, |viewed| viewed.listed = None)
    }),
    ours("an owner does not come back", Invariant::I14, |history, _| stay_away(history)),
    ours("a watcher falls silent", Invariant::I15, fall_silent),
    ours("a view is live without proof", Invariant::I15, unproven),
    ours("a stopped consumer costs memory", Invariant::I16, grow),
    ours("an overflow is told twice", Invariant::I16, overflow_twice),
    ours("a lookup is of the past", Invariant::I17, old_lookup),
    ours("a lookup lacks an entry", Invariant::I17, short_lookup),
    naive("an event is dropped", Invariant::I7, drop_lasting),
    naive("a departure is not told", Invariant::I7, drop_departure),
    naive("a watcher lacks an entry in the end", Invariant::I8, |history, _| other_end(history)),
    naive("a lookup lists who is dead", Invariant::I9, |history, random| ghost_lookup(history, random)),
    naive("a lookup lacks who is alive", Invariant::I10, short_lookup_early),
    naive("the final list lacks an instance", Invariant::I11, |history, _| short_final(history)),
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

fn drop_event(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    history.remove(index);
    Some(())
}

fn forget_gap(history: &mut Vec<Line>, which: &str) -> Option<()> {
    let gap = history.iter_mut().filter_map(told_mut).find_map(|told| match &mut told.item {
        Item::Reset { gap, .. } if gap.as_ref().is_some_and(|gap| gap.contains(which)) => Some(gap),
        _ => None,
    })?;
    *gap = None;
    Some(())
}

fn tell_nobody(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let one_epoch = |history: &[Line]| {
        !history
            .iter()
            .filter_map(told)
            .any(|told| matches!(&told.item, Item::Reset { gap: Some(gap), .. } if gap == "wiped"))
    };
    let updates = all(history, |line| operation(line).is_some_and(|op| op.verb == Verb::Update));
    let update = choose(updates, random).filter(|_| one_epoch(history))?;
    let value = operation(&history[update])?.value?;
    let is = |change: &Change| matches!(change, Change::Put(listed) if listed.value == value);
    let covered = history
        .iter()
        .filter_map(told)
        .any(|told| matches!(&told.item, Item::Changes { changes, .. } if changes.iter().any(is)));
    history.retain(|line| match line {
        Line::Told(_) => !changes(line).is_some_and(|(_, _, changes)| changes.iter().any(is)),
        Line::Truth(truth) => !is(&truth.change),
        _ => true,
    });
    let forget = |listed: &mut Vec<Listed>| listed.retain(|listed| listed.value != value);
    for line in history {
        match line {
            Line::Told(Told { item: Item::Reset { listed, .. }, .. }) => forget(listed),
            Line::Operation(Operation { outcome: Outcome::Ok { listed: Some(listed), .. }, .. }) => {
                forget(listed)
            }
            Line::Final(read) => forget(&mut read.listed),
            _ => {}
        }
    }
    covered.then_some(())
}

fn stay_behind(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let is =
        |told: &Told, which: &str| matches!(&told.item, Item::Reset { gap: Some(gap), .. } if gap == which);
    let wiped = history.iter().position(|line| told(line).is_some_and(|told| is(told, "wiped")))?;
    let watcher = told(&history[wiped])?.watcher.clone();
    let mut index = 0;
    history.retain(|line| {
        index += 1;
        index <= wiped || told(line).is_none_or(|told| told.watcher != watcher)
    });
    Some(())
}

fn with_put(history: &mut [Line], random: &mut Rng, plant: impl Fn(&mut Listed)) -> Option<()> {
    let puts = all(history, |line| matches!(changes(line), Some((_, _, [Change::Put(_)]))));
    let Item::Changes { changes, .. } = &mut told_mut(&mut history[choose(puts, random)?])?.item else {
        return None;
    };
    let Some(Change::Put(listed)) = changes.first_mut() else { return None };
    plant(listed);
    Some(())
}

fn fake_delete(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let puts = all(history, |line| matches!(changes(line), Some((_, _, [Change::Put(_)]))));
    let Item::Changes { changes, .. } = &mut told_mut(&mut history[choose(puts, random)?])?.item else {
        return None;
    };
    let first = changes.first_mut()?;
    *first = Change::Delete { id: first.id().to_owned(), cause: Some("expired".to_owned()) };
    Some(())
}

/// Without a log it cannot be told whether one watcher was told too much, or the others too little.
fn ghost_event(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    history.iter().find(|line| matches!(line, Line::Truth(_)))?;
    let index = choose(all(history, |line| changes(line).is_some()), random)?;
    let Item::Changes { position, changes } = &mut told_mut(&mut history[index])?.item else { return None };
    let modified = position.map(|position| position.revision);
    let id = "ghost".to_owned();
    changes.push(Change::Put(Listed { id, value: 99, incarnation: Some(99), modified }));
    Some(())
}

fn short_reset(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let resets = all(
        history,
        |line| matches!(told(line).map(|told| &told.item), Some(Item::Reset { listed, gap: Some(_), .. }) if !listed.is_empty()),
    );
    let Item::Reset { listed, .. } = &mut told_mut(&mut history[choose(resets, random)?])?.item else {
        return None;
    };
    listed.pop();
    Some(())
}

fn short_view(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let view = if random.bool() { "2.7" } else { "3.7" };
    let shown = history.iter_mut().filter_map(|line| match line {
        Line::Viewed(viewed) if viewed.view == view && viewed.at > At(18_500_000) => viewed.listed.as_mut(),
        _ => None,
    });
    let mut planted = None;
    for listed in shown {
        planted = listed.pop();
    }
    planted.map(drop)
}

/// The last word of what is in the final list is kept from a watcher.
fn other_end(history: &mut Vec<Line>) -> Option<()> {
    let last: Vec<Listed> = history
        .iter()
        .find_map(|line| if let Line::Final(read) = line { Some(read.listed.clone()) } else { None })?;
    let of = |line: &Line| {
        let (told, _, changes) = changes(line)?;
        let Some(Change::Put(listed)) = changes.first() else { return None };
        (told.watcher == "3.0" && last.contains(listed)).then_some(())
    };
    let index = history.iter().rposition(|line| of(line).is_some())?;
    history.remove(index);
    Some(())
}

fn swap(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let pairs: Vec<(usize, usize)> = events(history)
        .into_iter()
        .filter_map(|index| Some((index, next(history, index)?)))
        .filter(|(_, next)| changes(&history[*next]).is_some())
        .collect();
    let (one, other) = choose(pairs, random)?;
    let (first, second) = (told(&history[one])?.item.clone(), told(&history[other])?.item.clone());
    told_mut(&mut history[one])?.item = second;
    told_mut(&mut history[other])?.item = first;
    Some(())
}

fn move_back(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let marks = all(history, |line| {
        told(line)
            .is_some_and(|told| matches!(&told.item, Item::Progress { position } if position.revision > 1))
    });
    let Item::Progress { position } = &mut told_mut(&mut history[choose(marks, random)?])?.item else {
        return None;
    };
    position.revision -= 1;
    Some(())
}

fn reset_back(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    let first = history.iter().filter_map(told).find_map(|told| match &told.item {
        Item::Reset { .. } => Some(told.item.clone()),
        _ => None,
    })?;
    let (told_then, position, _) = changes(&history[index])?;
    let (mut item, told_then) = (first, told_then.clone());
    let Item::Reset { position: Some(at), gap, .. } = &mut item else { return None };
    if at.epoch != position?.epoch {
        return None;
    }
    *gap = Some("overflow".to_owned());
    history.insert(index + 1, Line::Told(Told { item, ..told_then }));
    Some(())
}

fn duplicate(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    let again = history[index].clone();
    history.insert(index + 1, again);
    Some(())
}

fn split(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let batches = all(history, |line| changes(line).is_some_and(|(_, _, changes)| changes.len() > 1));
    let index = choose(batches, random)?;
    let mut second = told(&history[index])?.clone();
    let Item::Changes { changes, .. } = &mut told_mut(&mut history[index])?.item else { return None };
    let rest = changes.split_off(1);
    if let Item::Changes { changes, .. } = &mut second.item {
        *changes = rest;
    }
    history.insert(index + 1, Line::Told(second));
    Some(())
}

fn skip_resumed(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let started = history.iter().position(|line| {
        told(line).is_some_and(|told| matches!(told.item, Item::Started { from: Some(_) }))
    })?;
    let first = next(history, started)?;
    changes(&history[first])?;
    history.remove(first);
    Some(())
}

fn early_bookmark(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    let (first, position, _) = changes(&history[index])?;
    let item = Item::Progress { position: position? };
    let early = Told { item, ..first.clone() };
    history.insert(index, Line::Told(early));
    Some(())
}

/// Entries of which an end by their lease was told, and when.
fn ends(history: &[Line]) -> Vec<(Listed, At)> {
    let mut last: Vec<Listed> = Vec::new();
    let mut ends = Vec::new();
    for (told, _, changes) in history.iter().filter_map(changes).filter(|(told, ..)| told.watcher == "3.0") {
        for change in changes {
            match change {
                Change::Put(listed) => last.push(listed.clone()),
                Change::Delete { id, cause } if cause.as_deref() != Some("deregistered") => {
                    ends.extend(
                        last.iter().rfind(|listed| listed.id == *id).map(|last| (last.clone(), told.at)),
                    );
                }
                Change::Delete { .. } => {}
            }
        }
    }
    ends
}

/// E and f die for good.
fn ghost_lookup(history: &mut [Line], _: &mut Rng) -> Option<()> {
    let (dead, at) = ends(history).into_iter().find(|(listed, _)| listed.id == "e")?;
    let mut planted = None;
    for op in history.iter_mut().filter_map(operation_mut).filter(|op| op.invoked > at.plus_ms(1_200)) {
        if let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome {
            listed.push(dead.clone());
            planted = Some(());
        }
    }
    planted
}

fn untold_end(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let index = history.iter().position(|line| {
        changes(line).is_some_and(|(told, _, changes)| {
            told.watcher == "3.0"
                && changes.iter().any(|change| change.id() == "e" && matches!(change, Change::Delete { .. }))
        })
    })?;
    history.remove(index);
    Some(())
}

fn early_expiry(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let leaves = |line: &Line| {
        operation(line).is_some_and(|op| op.verb == Verb::Deregister && op.id.as_deref() == Some("d"))
    };
    let index = history.iter().position(leaves)?;
    history.remove(index);
    let mut planted = None;
    for line in history.iter_mut() {
        let deleted = match line {
            Line::Told(Told { item: Item::Changes { changes, .. }, .. }) => changes.as_mut_slice(),
            Line::Truth(truth) => std::slice::from_mut(&mut truth.change),
            _ => continue,
        };
        for change in deleted {
            if let Change::Delete { id, cause } = change
                && id == "d"
            {
                *cause = Some("expired".to_owned());
                planted = Some(());
            }
        }
    }
    planted
}

fn short(history: &mut [Line], random: &mut Rng, after: At) -> Option<()> {
    let lookups = all(history, |line| {
        operation(line).is_some_and(|op| {
            // A and b are always there.
            op.invoked > after
                && matches!(&op.outcome, Outcome::Ok { listed: Some(listed), .. } if listed.iter().any(|listed| listed.id == "a"))
        })
    });
    let op = operation_mut(&mut history[choose(lookups, random)?])?;
    let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome else { return None };
    listed.retain(|listed| listed.id != "a");
    Some(())
}

/// Everybody is healed by then, and renews again.
fn short_lookup(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let kept = matches!(history.first(), Some(Line::Run(run)) if run.keeps_acknowledged);
    short(history, random, At(14_000_000)).filter(|()| kept)
}

/// Where loss is allowed once something was struck, before that.
fn short_lookup_early(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let lookups = all(history, |line| {
        operation(line).is_some_and(|op| {
            op.verb == Verb::Lookup && At(2_000_000) < op.invoked && op.invoked < At(6_900_000)
        })
    });
    let op = operation_mut(&mut history[choose(lookups, random)?])?;
    let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome else { return None };
    listed.retain(|listed| listed.id != "a");
    Some(())
}

fn loses(history: &[Line]) -> bool {
    let struck = history.iter().any(|line| matches!(line, Line::Nemesis(_)));
    struck && matches!(history.first(), Some(Line::Run(run)) if !run.keeps_acknowledged)
}

fn final_list(history: &mut [Line]) -> Option<&mut Vec<Listed>> {
    history
        .iter_mut()
        .find_map(|line| if let Line::Final(read) = line { Some(&mut read.listed) } else { None })
}

fn short_final(history: &mut Vec<Line>) -> Option<()> {
    let loses = loses(history);
    final_list(history)?.retain(|listed| listed.id != "a");
    (!loses).then_some(())
}

fn older_final(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let writes = |op: &&Operation| {
        op.id.as_deref() == Some("b")
            && matches!(op.verb, Verb::Register | Verb::Update)
            && matches!(op.outcome, Outcome::Ok { .. })
    };
    let first = history.iter().filter_map(operation).find(writes)?.value?;
    let loses = loses(history);
    let listed = final_list(history)?.iter_mut().find(|listed| listed.id == "b")?;
    let changed = listed.value != first;
    listed.value = first;
    (changed && !loses).then_some(())
}

fn old_renews(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let old = history.iter_mut().filter_map(operation_mut).find(|op| {
        op.id.as_deref() == Some("g")
            && op.invoked < At(6_900_000)
            && matches!(op.outcome, Outcome::Failed { .. })
    })?;
    old.outcome = Outcome::Ok { revision: None, incarnation: None, position: None, listed: None };
    Some(())
}

fn old_removes(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let leaves = history
        .iter_mut()
        .filter_map(operation_mut)
        .find(|op| op.verb == Verb::Deregister && op.id.as_deref() == Some("d"))?;
    leaves.incarnation = leaves.incarnation.map(|incarnation| incarnation - 1);
    Some(())
}

fn in_outage(history: &mut [Line], random: &mut Rng, plant: impl Fn(&mut Viewed)) -> Option<()> {
    let from = At(9_000_000 + random.u64(0..1_000_000));
    let mut planted = None;
    for line in history {
        if let Line::Viewed(viewed) = line
            && viewed.view == "2.7"
            && !viewed.live
            && viewed.at > from
        {
            planted = Some(())
                .filter(|()| viewed.listed.as_ref().is_some_and(|listed| !listed.is_empty()))
                .or(planted);
            plant(viewed);
        }
    }
    planted
}

fn stay_away(history: &mut Vec<Line>) -> Option<()> {
    let lost = history.iter().position(
        |line| matches!(line, Line::Owner(owner) if owner.step == Step::Recovering && owner.id == "a"),
    )?;
    let mut index = 0;
    history.retain(|line| {
        index += 1;
        index <= lost
            || !matches!(line, Line::Owner(owner) if owner.id == "a" && owner.step == Step::Registered)
    });
    Some(())
}

fn fall_silent(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let watcher = if random.bool() { "2.0" } else { "3.0" };
    let from = At(2_000_000 + random.u64(0..2_000_000));
    history.retain(|line| told(line).is_none_or(|told| told.watcher != watcher || told.at < from));
    Some(())
}

fn unproven(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let live = all(
        history,
        |line| matches!(line, Line::Viewed(viewed) if viewed.live && viewed.at > At(15_000_000)),
    );
    let index = choose(live, random)?;
    let Line::Viewed(viewed) = &mut history[index] else { return None };
    viewed.proven = Some(At(viewed.at.0 - 14_500_000));
    Some(())
}

fn grow(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let mut planted = None;
    for line in history {
        if let Line::Note(note) = line
            && At(3_500_000) < note.at
            && note.at < At(6_500_000)
        {
            note.figure = note.figure.map(|figure| figure + note.at.0 as f64 / 10.0);
            planted = Some(());
        }
    }
    planted
}

fn overflow_twice(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let overflow =
        |told: &Told| matches!(&told.item, Item::Reset { gap: Some(gap), .. } if gap == "overflow");
    let index = history.iter().position(|line| told(line).is_some_and(overflow))?;
    let again = history[index].clone();
    history.insert(index + 1, again);
    Some(())
}

fn old_lookup(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let loses = loses(history);
    let mut past: Option<(Position, Outcome)> = None;
    let mut later = Vec::new();
    for (index, op) in history.iter().enumerate().filter_map(|(index, line)| Some((index, operation(line)?)))
    {
        if let Outcome::Ok { position: Some(position), .. } = op.outcome {
            let (then, _) = past.get_or_insert((position, op.outcome.clone()));
            if then.epoch == position.epoch && then.revision < position.revision {
                later.push(index);
            }
        }
    }
    operation_mut(&mut history[choose(later, random)?])?.outcome = past?.1;
    (!loses).then_some(())
}

/// When the next write of the instance is asked for.
fn superseded(history: &[Line], id: &str, after: At) -> At {
    let writes = |op: &&Operation| {
        op.id.as_deref() == Some(id)
            && matches!(op.verb, Verb::Register | Verb::Update | Verb::Deregister)
            && op.invoked > after
    };
    history.iter().filter_map(operation).filter(writes).map(|op| op.invoked).min().unwrap_or(At(u64::MAX))
}

/// Before all strikes, and for longer than a TTL the last word.
fn drop_lasting(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let lasting = |line: &Line| {
        changes(line).is_some_and(|(told, _, changes)| {
            let Some(Change::Put(listed)) = changes.first() else { return false };
            let told_in_time = told.at < At(3_000_000) && told.watcher == "3.0";
            told_in_time && superseded(history, &listed.id, told.at) > told.at.plus_ms(2 * TTL)
        })
    };
    let index = choose(all(history, lasting), random)?;
    history.remove(index);
    Some(())
}

fn drop_departure(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let watcher = if random.bool() { "2.0" } else { "3.0" };
    let index = history.iter().rposition(|line| {
        changes(line).is_some_and(|(told, _, changes)| {
            told.watcher == watcher && matches!(changes, [Change::Delete { id, .. }] if id == "c")
        })
    })?;
    history.remove(index);
    Some(())
}
