//! What owners do and how leases end, spoilt.

use super::*;

/// Entries of which an end by their lease was told, and when.
pub(super) fn ends(history: &[Line]) -> Vec<(Listed, At)> {
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

pub(super) fn untold_end(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let index = history.iter().position(|line| {
        changes(line).is_some_and(|(told, _, changes)| {
            told.watcher == "3.0"
                && changes.iter().any(|change| change.id() == "e" && matches!(change, Change::Delete { .. }))
        })
    })?;
    history.remove(index);
    Some(())
}

pub(super) fn early_expiry(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
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

pub(super) fn old_renews(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let old = history.iter_mut().filter_map(operation_mut).find(|op| {
        op.id.as_deref() == Some("g")
            && op.invoked < At(6_900_000)
            && matches!(op.outcome, Outcome::Failed { .. })
    })?;
    old.outcome = Outcome::Ok { revision: None, incarnation: None, position: None, listed: None };
    Some(())
}

/// An update, and not only a heartbeat: the very request that failed since a newer one was registered.
pub(super) fn old_updates(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let old = history.iter_mut().filter_map(operation_mut).find(|op| {
        op.id.as_deref() == Some("g")
            && op.invoked < At(6_900_000)
            && matches!(op.outcome, Outcome::Failed { .. })
    })?;
    (old.verb, old.value) = (Verb::Update, Some(2_000_000));
    old.outcome = Outcome::Ok { revision: None, incarnation: None, position: None, listed: None };
    Some(())
}

/// The log itself has an entry of the older incarnation after one of the newer.
pub(super) fn overwritten(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let of_g: Vec<&Change> = history
        .iter()
        .filter_map(|line| match line {
            Line::Truth(truth) if truth.change.id() == "g" => Some(&truth.change),
            _ => None,
        })
        .collect();
    let incarnation = |change: &Change| if let Change::Put(put) = change { put.incarnation } else { None };
    let old = of_g.iter().find_map(|change| incarnation(change))?;
    // Of two that follow each other, with no end between them.
    let value = of_g.windows(2).rev().find_map(|two| match two {
        [before, Change::Put(put)] if incarnation(before) > Some(old) && put.incarnation > Some(old) => {
            Some(put.value)
        }
        _ => None,
    })?;
    // Whoever tells of it tells the same.
    let spoil = |listed: &mut Listed| {
        if listed.id == "g" && listed.value == value {
            listed.incarnation = Some(old);
        }
    };
    for line in history.iter_mut() {
        match line {
            Line::Truth(truth) => {
                if let Change::Put(put) = &mut truth.change {
                    spoil(put);
                }
            }
            Line::Told(Told { item: Item::Changes { changes, .. }, .. }) => {
                for change in changes {
                    if let Change::Put(put) = change {
                        spoil(put);
                    }
                }
            }
            Line::Told(Told { item: Item::Reset { listed, .. }, .. }) => listed.iter_mut().for_each(spoil),
            Line::Operation(Operation { outcome: Outcome::Ok { listed: Some(listed), .. }, .. }) => {
                listed.iter_mut().for_each(spoil);
            }
            Line::Final(read) => read.listed.iter_mut().for_each(spoil),
            _ => {}
        }
    }
    Some(())
}

pub(super) fn old_removes(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let leaves = history
        .iter_mut()
        .filter_map(operation_mut)
        .find(|op| op.verb == Verb::Deregister && op.id.as_deref() == Some("d"))?;
    leaves.incarnation = leaves.incarnation.map(|incarnation| incarnation - 1);
    Some(())
}

pub(super) fn stay_away(history: &mut Vec<Line>) -> Option<()> {
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
