//! A backup takes the place of what some have seen: two histories go by one name until that is noticed.

#![expect(clippy::ptr_arg, reason = "all mutations have one type, and some of them add lines")]

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::model::{RESTORED, restored};
use super::{PLANTED, broken, checked};
use crate::chaos::backend::Backend;
use crate::chaos::check::{Invariant, Standing};
use crate::chaos::history::{At, Change, Item, Line, Position, Told, Truth, Verb};

fn told(line: &Line) -> Option<&Told> {
    if let Line::Told(told) = line { Some(told) } else { None }
}

/// What was told one by one to `watcher`: line, position and changes.
fn changes<'a>(history: &'a [Line], watcher: &str) -> Vec<(usize, Position, &'a [Change])> {
    let of = |(index, line): (usize, &'a Line)| {
        let told = told(line).filter(|told| told.watcher == watcher)?;
        let Item::Changes { position, changes } = &told.item else { return None };
        Some((index, (*position)?, changes.as_slice()))
    };
    history.iter().enumerate().filter_map(of).collect()
}

/// The two histories that go by the name of the first epoch, by revision.
fn branches(history: &[Line]) -> [Vec<(u64, Change)>; 2] {
    let first = history
        .iter()
        .find_map(|line| if let Line::Truth(truth) = line { Some(truth.position.epoch) } else { None });
    [0, 1].map(|branch| {
        let of = |line: &Line| match line {
            Line::Truth(truth) if truth.branch == branch && Some(truth.position.epoch) == first => {
                Some((truth.position.revision, truth.change.clone()))
            }
            _ => None,
        };
        history.iter().filter_map(of).collect()
    })
}

/// The first revision at which the two differ.
fn fork(history: &[Line]) -> Option<u64> {
    let [lost, present] = branches(history);
    lost.iter().zip(&present).find(|(one, other)| one != other).map(|((revision, _), _)| *revision)
}

/// Found by redis under restore and black-hole-to-server, seeds 17 (a watcher that had been away while it was cut off) and 22 (nobody had seen what was lost).
#[test]
fn nothing_is_said_of_a_backup_in_the_place_of_what_watchers_were_told_if_they_are_told_so() {
    let mut conflicts = 0;
    for seen in [true, false] {
        for seed in 0..2 * PLANTED {
            let history = restored(seed, seen);
            let found = checked(&history).violations;
            let wrong: Vec<_> = found.iter().filter(|one| one.standing == Standing::Broken).take(3).collect();
            let lines: Vec<_> = wrong.iter().flat_map(|one| &one.lines).map(|line| &history[*line]).collect();
            assert!(wrong.is_empty(), "seed {seed}, seen: {seen}: {wrong:#?} {lines:#?}");
            // What was told of the lost history is another thing in the present one.
            let fork = fork(&history).unwrap_or(u64::MAX);
            let before = |(index, position, _): &(usize, Position, _)| {
                position.revision >= fork
                    && told(&history[*index]).is_some_and(|told| told.at < At(RESTORED * 1_000))
            };
            conflicts += u64::from(changes(&history, "2.1").iter().any(before));
        }
    }
    assert!(conflicts > PLANTED / 2, "{conflicts}");
}

type Plant = fn(&mut Vec<Line>, &mut Rng) -> Option<()>;

/// Each breaks I7, in a history where the loss was seen (true), or not.
const DEFECTS: [(&str, bool, Plant); 10] = [
    ("a watcher goes over to the backup without a word, and is told only then", true, go_over),
    ("who was away goes on in the backup without a word", true, resume_in_the_backup),
    ("a change of the backup is told among those that were lost", true, tell_of_the_other),
    ("who was away is not told of the loss", true, forget_the_loss),
    ("a watcher stays with what was lost", true, stay_behind),
    ("a change after the backup is not told", false, drop_after),
    ("a lost change is told, and then those of the backup", false, tell_a_lost_one),
    (
        "all that was lost is told, then what the backup has after that, and the loss only then",
        false,
        go_over_at_the_end,
    ),
    ("the same, with a list of what was lost", false, list_and_go_over),
    ("the same, with no more than a bookmark in the backup", false, mark_the_backup),
];

#[test]
fn each_loss_that_is_not_told_is_found_where_a_backup_took_the_place_of_a_history() {
    let mut missed = Vec::new();
    for (name, seen, plant) in DEFECTS {
        let (mut planted, mut silent) = (0, Vec::new());
        for seed in 0..2 * PLANTED {
            let mut history = restored(seed, seen);
            if plant(&mut history, &mut Rng::with_seed(seed)).is_none() {
                continue;
            }
            planted += 1;
            if !broken(&history).contains(&Invariant::I7) {
                silent.push(seed);
            }
        }
        if planted < 6 || !silent.is_empty() {
            missed.push(format!("{name}: not in {silent:?} of {planted}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// From the first change of the backup's own on the witness knows the history by another name, as it does when somebody has noticed, and nobody who watches does.
fn rename(history: &mut Vec<Line>) -> Option<()> {
    let fork = fork(history)?;
    let [_, present] = branches(history);
    let is_own = |line: &Line| matches!(line, Line::Truth(truth) if truth.branch == 1 && truth.position.revision >= fork);
    let first = history.iter().position(is_own)?;
    let Line::Truth(truth) = &history[first] else { return None };
    let epoch = truth.position.epoch + 50;
    let mut listed = BTreeMap::new();
    for (revision, change) in present.into_iter().filter(|(revision, _)| *revision < fork) {
        match change {
            Change::Put(put) => drop(listed.insert(put.id.clone(), (revision, put))),
            Change::Delete { id, .. } => drop(listed.remove(&id)),
        }
    }
    for line in history.iter_mut().filter(|line| is_own(line)) {
        if let Line::Truth(truth) = line {
            (truth.position.epoch, truth.branch) = (epoch, 0);
        }
    }
    let mut listed: Vec<_> = listed.into_values().collect();
    listed.sort_by_key(|(revision, _)| *revision);
    (!listed.is_empty()).then_some(())?;
    let known = listed.into_iter().map(|(revision, put)| {
        let position = Position { epoch, revision };
        Line::Truth(Truth { position, branch: 0, change: Change::Put(put), listed: true })
    });
    history.splice(first..first, known);
    Some(())
}

/// Found by etcd under link-reset and restore, seed 20: a watcher that had not read since before the backup was taken went on in it by the old name.
#[test]
fn who_goes_on_in_a_backup_by_its_old_name_has_lost_nothing_and_what_it_is_not_told_is_found() {
    let (mut played, mut planted) = (0, 0);
    for seed in 0..2 * PLANTED {
        let mut history = restored(seed, false);
        if rename(&mut history).is_none() {
            continue;
        }
        played += 1;
        assert_eq!(broken(&history), [], "seed {seed}");
        let mut history = restored(seed, false);
        if drop_after(&mut history, &mut Rng::with_seed(seed)).is_some() && rename(&mut history).is_some() {
            planted += 1;
            assert!(broken(&history).contains(&Invariant::I7), "seed {seed}");
            // Also where nobody else goes by the old name.
            let of = |history: &[Line], watcher: &str| changes(history, watcher).len();
            let whole = restored(seed, false);
            let watchers: BTreeSet<String> =
                whole.iter().filter_map(told).map(|told| told.watcher.clone()).collect();
            let dropped = watchers.iter().find(|one| of(&history, one) < of(&whole, one)).unwrap().clone();
            history.retain(|line| {
                told(line).is_none_or(|told| told.watcher == dropped)
                    && !matches!(line, Line::Operation(op) if op.verb == Verb::Lookup)
            });
            assert!(broken(&history).contains(&Invariant::I7), "seed {seed}, alone");
        }
    }
    assert!(played > 6 && planted > 6, "{played} {planted}");
}

/// The line by which `watcher` is told of the loss.
fn told_so(history: &[Line], watcher: &str) -> Option<usize> {
    history.iter().position(|line| {
        told(line).is_some_and(|told| {
            told.watcher == watcher
                && matches!(&told.item, Item::Reset { gap: Some(gap), .. } if gap == "diverged")
        })
    })
}

/// Tells `watcher`, just before it is told of the loss, what the backup has after what it was told last.
fn go_over_before_it_is_told(history: &mut Vec<Line>, watcher: &str) -> Option<()> {
    let reset = told_so(history, watcher)?;
    let at = told(&history[reset])?.at;
    let mut before = changes(history, watcher).into_iter().filter(|(index, ..)| *index < reset);
    let (_, last, _) = before.next_back()?;
    let fork = fork(history)?;
    let [_, present] = branches(history);
    let rest: Vec<(u64, Change)> =
        present.into_iter().filter(|(revision, _)| *revision > last.revision).collect();
    if last.revision < fork || rest.is_empty() {
        return None;
    }
    for (revision, change) in rest.into_iter().rev() {
        let (position, changes) = (Some(Position { revision, ..last }), vec![change]);
        let item = Item::Changes { position, changes };
        history.insert(reset, Line::Told(Told { watcher: watcher.to_owned(), at, item }));
    }
    Some(())
}

fn go_over(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    go_over_before_it_is_told(history, "2.0")
}

fn resume_in_the_backup(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    go_over_before_it_is_told(history, "2.1")
}

fn tell_of_the_other(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let [lost, present] = branches(history);
    let last = changes(history, "3.0")
        .into_iter()
        .filter(|(_, position, _)| Some(position.revision) == lost.last().map(|last| last.0))
        .count();
    let differ: Vec<(usize, Change)> = changes(history, "3.0")
        .into_iter()
        .filter_map(|(index, position, changes)| {
            let other = present.iter().find(|(revision, _)| *revision == position.revision)?;
            let was_lost = lost
                .iter()
                .any(|(revision, change)| *revision == position.revision && [change.clone()] == *changes);
            (was_lost && [other.1.clone()] != *changes && last == 1).then(|| (index, other.1.clone()))
        })
        .collect();
    if differ.len() < 2 {
        return None;
    }
    let (index, other) = differ[random.usize(..differ.len() - 1)].clone();
    let Line::Told(Told { item: Item::Changes { changes, .. }, .. }) = &mut history[index] else {
        return None;
    };
    *changes = vec![other];
    Some(())
}

fn forget_the_loss(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let reset = told_so(history, "2.1")?;
    let Line::Told(Told { item: Item::Reset { gap, .. }, .. }) = &mut history[reset] else { return None };
    *gap = None;
    Some(())
}

fn stay_behind(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let reset = told_so(history, "2.1")?;
    let mut index = 0;
    history.retain(|line| {
        index += 1;
        index <= reset || told(line).is_none_or(|told| told.watcher != "2.1")
    });
    Some(())
}

/// Those that `watcher` was told after the backup had taken the place of what was lost, but for the last.
fn after(history: &[Line], watcher: &str) -> Vec<(usize, Position)> {
    let is_after = |index: &usize| told(&history[*index]).is_some_and(|told| told.at > At(RESTORED * 1_000));
    let all = changes(history, watcher).into_iter().map(|(index, position, _)| (index, position));
    let mut after: Vec<_> = all.filter(|(index, _)| is_after(index)).collect();
    after.pop();
    after
}

fn drop_after(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let fork = fork(history)?;
    let after: Vec<_> =
        after(history, "3.0").into_iter().filter(|(_, position)| position.revision >= fork).collect();
    let (index, _) = *after.get(random.usize(..after.len().max(1)))?;
    history.remove(index);
    Some(())
}

fn tell_a_lost_one(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let fork = fork(history)?;
    let [lost, _] = branches(history);
    let (_, change) = lost.into_iter().find(|(revision, _)| *revision == fork)?;
    let (index, _) = after(history, "3.0").into_iter().find(|(_, position)| position.revision == fork)?;
    let Line::Told(Told { item: Item::Changes { changes, .. }, .. }) = &mut history[index] else {
        return None;
    };
    *changes = vec![change];
    Some(())
}

/// Tells a watcher all that was lost, where it was told what the backup has there; that there was a loss it is told before the last read. Gives up to where that goes.
fn tell_the_lost(history: &mut Vec<Line>) -> Option<u64> {
    let (fork, [lost, _]) = (fork(history)?, branches(history));
    let end = lost.last()?.0;
    let told: Vec<(usize, u64)> =
        after(history, "3.0").into_iter().map(|(index, position)| (index, position.revision)).collect();
    if told.first()?.1 > fork || told.last()?.1 <= end {
        return None;
    }
    for (index, at) in told.into_iter().filter(|(_, at)| (fork..=end).contains(at)) {
        let Line::Told(Told { item: Item::Changes { changes, .. }, .. }) = &mut history[index] else {
            return None;
        };
        let of = lost.iter().filter(|(revision, _)| *revision == at);
        *changes = of.map(|(_, change)| change.clone()).collect();
    }
    let read = history.iter().position(|line| matches!(line, Line::Final(_)))?;
    let Line::Final(last) = &history[read] else { return None };
    let (at, listed) = (At(last.invoked.0 - 1), last.listed.clone());
    let item = Item::Reset { position: last.position, gap: Some("diverged".to_owned()), listed };
    history.insert(read, Line::Told(Told { watcher: "3.0".to_owned(), at, item }));
    Some(end)
}

fn go_over_at_the_end(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    tell_the_lost(history).map(drop)
}

fn list_and_go_over(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let end = tell_the_lost(history)?;
    let mut listed = BTreeMap::new();
    for (_, change) in &branches(history)[0] {
        match change {
            Change::Put(one) => drop(listed.insert(one.id.clone(), one.clone())),
            Change::Delete { id, .. } => drop(listed.remove(id)),
        }
    }
    let fork = fork(history)?;
    let told = after(history, "3.0").into_iter().filter(|(_, at)| (fork..=end).contains(&at.revision));
    let told: Vec<(usize, Position)> = told.collect();
    let (last, position) = *told.last()?;
    let Line::Told(Told { item, .. }) = &mut history[last] else { return None };
    let gap = Some("compacted".to_owned());
    *item = Item::Reset { position: Some(position), gap, listed: listed.into_values().collect() };
    told[..told.len() - 1].iter().rev().for_each(|(index, _)| drop(history.remove(*index)));
    Some(())
}

fn mark_the_backup(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let end = tell_the_lost(history)?;
    let Some(Line::Run(run)) = history.first_mut() else { return None };
    // There every revision is a change.
    run.backend = Backend::Redis;
    let (mut marks, mut reset) = (0, false);
    history.retain(|line| {
        let Some(Told { item, .. }) = told(line).filter(|told| told.watcher == "3.0") else { return true };
        reset |= matches!(item, Item::Reset { gap: Some(_), .. });
        let beyond = item.position().is_some_and(|position| position.revision > end);
        marks += u32::from(beyond && !reset && matches!(item, Item::Progress { .. } | Item::Live { .. }));
        reset || !beyond || !matches!(item, Item::Changes { .. })
    });
    (marks > 0).then_some(())
}
