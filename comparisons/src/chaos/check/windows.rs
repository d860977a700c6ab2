//! When something was struck.

use crate::chaos::fault::Fault;
use crate::chaos::history::{Act, At, Nemesis};

/// The stretches of time from a strike until it was healed, merged where they overlap, in order.
#[derive(Debug, Default)]
pub(super) struct Windows {
    merged: Vec<(At, At)>,
}

impl Windows {
    pub(super) fn of<'a>(nemesis: impl Iterator<Item = &'a Nemesis>) -> Self {
        let mut open: Vec<(Fault, At)> = Vec::new();
        let mut single = Vec::new();
        for step in nemesis.filter(|step| step.fault != Fault::None) {
            match step.act {
                Act::Strikes => open.push((step.fault, step.at)),
                Act::Healed { .. } => {
                    if let Some(index) = open.iter().position(|(fault, _)| *fault == step.fault) {
                        single.push((open.remove(index).1, step.at));
                    }
                }
                Act::Struck { .. } | Act::Heals => {}
            }
        }
        single.extend(open.into_iter().map(|(_, from)| (from, At(u64::MAX))));
        single.sort_unstable();
        let mut merged: Vec<(At, At)> = Vec::new();
        for (from, to) in single {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self { merged }
    }

    /// When the first strike was.
    pub(super) fn first(&self) -> Option<At> {
        self.merged.first().map(|(from, _)| *from)
    }

    /// When all was healed; 0 if nothing was struck.
    pub(super) fn healed(&self) -> At {
        self.merged.last().map_or(At(0), |(_, to)| *to)
    }

    /// The end of the last stretch that has a moment in common with `from` to `to`.
    pub(super) fn overlapping(&self, from: At, to: At) -> Option<At> {
        self.merged.iter().rev().find(|(start, end)| *start <= to && from <= *end).map(|(_, end)| *end)
    }

    /// When an entry that is due at `deadline`, and was renewed at `since`, may be listed no more, where disruptions do not count: each that strikes before then
    /// adds its own time and one TTL.
    pub(super) fn lengthened(&self, since: At, deadline: At, ttl_ms: u64) -> At {
        self.merged.iter().filter(|(_, end)| since <= *end).fold(deadline, |deadline, (start, end)| {
            if *start > deadline {
                deadline
            } else {
                At(deadline.0.saturating_add(end.0 - start.0)).plus_ms(ttl_ms)
            }
        })
    }

    /// When somebody who reads must know what happened at `moment`: `lag_ms` after the end of every stretch that comes between.
    pub(super) fn read_by(&self, moment: At, slack_ms: u64, lag_ms: u64) -> At {
        let late = |end: At| end.plus_ms(lag_ms);
        self.merged.iter().filter(|(_, end)| moment <= late(*end)).fold(
            moment.plus_ms(slack_ms),
            |known, (start, end)| if *start > known { known } else { known.max(late(*end)) },
        )
    }

    /// When `ms` have passed since `from` in which nothing was struck.
    pub(super) fn healthy_after(&self, from: At, ms: u64) -> At {
        self.merged.iter().filter(|(_, end)| from < *end).fold(from.plus_ms(ms), |then, (start, end)| {
            if then <= *start { then } else { At(then.0.saturating_add(end.0 - (*start).max(from).0)) }
        })
    }
}
