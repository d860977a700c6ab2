//! What watchers are told, spoilt.

use super::*;

pub(super) fn drop_event(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    history.remove(index);
    Some(())
}

pub(super) fn forget_gap(history: &mut Vec<Line>, which: &str) -> Option<()> {
    let gap = history.iter_mut().filter_map(told_mut).find_map(|told| match &mut told.item {
        Item::Reset { gap, .. } if gap.as_ref().is_some_and(|gap| gap.contains(which)) => Some(gap),
        _ => None,
    })?;
    *gap = None;
    Some(())
}

pub(super) fn tell_nobody(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn stay_behind(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
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

pub(super) fn with_put(history: &mut [Line], random: &mut Rng, plant: impl Fn(&mut Listed)) -> Option<()> {
    let puts = all(history, |line| matches!(changes(line), Some((_, _, [Change::Put(_)]))));
    let Item::Changes { changes, .. } = &mut told_mut(&mut history[choose(puts, random)?])?.item else {
        return None;
    };
    let Some(Change::Put(listed)) = changes.first_mut() else { return None };
    plant(listed);
    Some(())
}

pub(super) fn fake_delete(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let puts = all(history, |line| matches!(changes(line), Some((_, _, [Change::Put(_)]))));
    let Item::Changes { changes, .. } = &mut told_mut(&mut history[choose(puts, random)?])?.item else {
        return None;
    };
    let first = changes.first_mut()?;
    *first = Change::Delete { id: first.id().to_owned(), cause: Some("expired".to_owned()) };
    Some(())
}

/// Without a log it cannot be told whether one watcher was told too much, or the others too little.
pub(super) fn ghost_event(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    history.iter().find(|line| matches!(line, Line::Truth(_)))?;
    let index = choose(all(history, |line| changes(line).is_some()), random)?;
    let Item::Changes { position, changes } = &mut told_mut(&mut history[index])?.item else { return None };
    let modified = position.map(|position| position.revision);
    let id = "ghost".to_owned();
    changes.push(Change::Put(Listed { id, value: 99, incarnation: Some(99), modified }));
    Some(())
}

pub(super) fn short_reset(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

/// The last word of what is in the final list is kept from a watcher.
pub(super) fn other_end(history: &mut Vec<Line>) -> Option<()> {
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

pub(super) fn swap(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn move_back(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn reset_back(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn duplicate(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    let again = history[index].clone();
    history.insert(index + 1, again);
    Some(())
}

pub(super) fn split(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn skip_resumed(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let started = history.iter().position(|line| {
        told(line).is_some_and(|told| matches!(told.item, Item::Started { from: Some(_) }))
    })?;
    let first = next(history, started)?;
    changes(&history[first])?;
    history.remove(first);
    Some(())
}

pub(super) fn early_bookmark(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let index = choose(events(history), random)?;
    let (first, position, _) = changes(&history[index])?;
    let item = Item::Progress { position: position? };
    let early = Told { item, ..first.clone() };
    history.insert(index, Line::Told(early));
    Some(())
}

pub(super) fn fall_silent(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let watcher = if random.bool() { "2.0" } else { "3.0" };
    let from = At(2_000_000 + random.u64(0..2_000_000));
    history.retain(|line| told(line).is_none_or(|told| told.watcher != watcher || told.at < from));
    Some(())
}

pub(super) fn overflow_twice(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let overflow =
        |told: &Told| matches!(&told.item, Item::Reset { gap: Some(gap), .. } if gap == "overflow");
    let index = history.iter().position(|line| told(line).is_some_and(overflow))?;
    let again = history[index].clone();
    history.insert(index + 1, again);
    Some(())
}

/// Nothing was let go: what was written meanwhile comes after it reads again.
pub(super) fn all_waits(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let reads =
        history.iter().position(|line| told(line).is_some_and(|told| told.item == Item::ReadsAgain))?;
    let again = told(&history[reads])?.clone();
    let before = history[..reads].iter().rev().filter_map(told);
    let here = before.filter(|told| told.watcher == again.watcher).find_map(|told| told.item.position())?;
    let waited = |number: u64| {
        let revision = here.revision + 1 + number;
        let put =
            Listed { id: format!("w-{number}"), value: number, incarnation: None, modified: Some(revision) };
        let item =
            Item::Changes { position: Some(Position { revision, ..here }), changes: vec![Change::Put(put)] };
        Line::Told(Told { item, ..again.clone() })
    };
    history.splice(reads + 1..=reads, (0..6_100).map(waited));
    Some(())
}

/// When the next write of the instance is asked for.
pub(super) fn superseded(history: &[Line], id: &str, after: At) -> At {
    let writes = |op: &&Operation| {
        op.id.as_deref() == Some(id)
            && matches!(op.verb, Verb::Register | Verb::Update | Verb::Deregister)
            && op.invoked > after
    };
    history.iter().filter_map(operation).filter(writes).map(|op| op.invoked).min().unwrap_or(At(u64::MAX))
}

/// Before all strikes, and for longer than a TTL the last word.
pub(super) fn drop_lasting(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
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

pub(super) fn drop_departure(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let watcher = if random.bool() { "2.0" } else { "3.0" };
    let index = history.iter().rposition(|line| {
        changes(line).is_some_and(|(told, _, changes)| {
            told.watcher == watcher && matches!(changes, [Change::Delete { id, .. }] if id == "c")
        })
    })?;
    history.remove(index);
    Some(())
}
