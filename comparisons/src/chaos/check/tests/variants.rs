//! The same history, told otherwise.

use super::model::END;
use crate::chaos::backend::Backend;
use crate::chaos::history::{At, Change, Item, Line, Listed, Outcome, Position};

/// The same history of a registry that has neither revisions nor incarnations.
pub(super) fn naive(history: Vec<Line>) -> Vec<Line> {
    let bare = |listed: &mut Listed| (listed.incarnation, listed.modified) = (None, None);
    history
        .into_iter()
        .filter_map(|mut line| {
            match &mut line {
                Line::Run(run) => {
                    run.backend = Backend::RedisNaive;
                    (run.linearizable, run.tells_gaps, run.keeps_acknowledged) = (false, false, false);
                }
                Line::Operation(op) => {
                    op.incarnation = None;
                    if let Outcome::Ok { revision, incarnation, position, listed } = &mut op.outcome {
                        (*revision, *incarnation, *position) = (None, None, None);
                        listed.iter_mut().flatten().for_each(bare);
                    }
                }
                Line::Told(told) => match &mut told.item {
                    Item::Started { from } => *from = None,
                    Item::Reset { position, gap, listed } => {
                        (*position, *gap) = (None, None);
                        listed.iter_mut().for_each(bare);
                    }
                    Item::Changes { position, changes } => {
                        *position = None;
                        for change in changes {
                            match change {
                                Change::Put(listed) => bare(listed),
                                Change::Delete { cause, .. } => *cause = None,
                            }
                        }
                    }
                    Item::Progress { .. } => return None,
                    Item::Live { position } => *position = None,
                    _ => {}
                },
                Line::Final(read) => {
                    read.position = None;
                    read.listed.iter_mut().for_each(bare);
                }
                Line::Viewed(_) | Line::Truth(_) => return None,
                _ => {}
            }
            Some(line)
        })
        .collect()
}

/// The same history so many days later, in another epoch.
pub(super) fn later(history: &[Line], days: u64) -> Vec<Line> {
    let at = |at: &mut At| at.0 += days * (END + 1_000) * 1_000;
    let place = |position: &mut Position| position.epoch += days * 100;
    let entry = |listed: &mut Listed| {
        listed.value += days * 10_000_000;
        listed.incarnation = listed.incarnation.map(|incarnation| incarnation + days * 100_000);
    };
    let change = |change: &mut Change| {
        if let Change::Put(listed) = change {
            entry(listed);
        }
    };
    let mut all = history.to_vec();
    for line in &mut all {
        match line {
            Line::Run(_) => {}
            Line::Operation(op) => {
                at(&mut op.invoked);
                at(&mut op.returned);
                op.value = op.value.map(|value| value + days * 10_000_000);
                op.incarnation = op.incarnation.map(|incarnation| incarnation + days * 100_000);
                if let Outcome::Ok { incarnation, position, listed, .. } = &mut op.outcome {
                    *incarnation = incarnation.map(|incarnation| incarnation + days * 100_000);
                    position.iter_mut().for_each(place);
                    listed.iter_mut().flatten().for_each(entry);
                }
            }
            Line::Told(told) => {
                at(&mut told.at);
                match &mut told.item {
                    Item::Started { from: position } | Item::Live { position } => {
                        position.iter_mut().for_each(place)
                    }
                    Item::Reset { position, listed, .. } => {
                        position.iter_mut().for_each(place);
                        listed.iter_mut().for_each(entry);
                    }
                    Item::Changes { position, changes } => {
                        position.iter_mut().for_each(place);
                        changes.iter_mut().for_each(change);
                    }
                    Item::Progress { position } => place(position),
                    _ => {}
                }
            }
            Line::Viewed(viewed) => {
                at(&mut viewed.at);
                viewed.proven.iter_mut().for_each(at);
                viewed.listed.iter_mut().flatten().for_each(entry);
            }
            Line::Owner(owner) => at(&mut owner.at),
            Line::Nemesis(step) => at(&mut step.at),
            Line::Truth(truth) => {
                place(&mut truth.position);
                change(&mut truth.change);
            }
            Line::Final(read) => {
                at(&mut read.invoked);
                read.position.iter_mut().for_each(place);
                read.listed.iter_mut().for_each(entry);
            }
            Line::Note(note) => at(&mut note.at),
        }
    }
    all
}
