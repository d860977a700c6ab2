//! Every list equals what happened up to its position: I4 for the lists of watches, I17 for lookups.

use std::collections::{BTreeMap, HashMap};

use super::evidence::Evidence;
use super::found::{Found, Invariant, Standing};
use super::truth::{Fact, STEPS, State, Truth};
use super::watchers::shown;
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Item, Listed, Outcome, Position};

/// A list that somebody was given.
struct List<'a> {
    position: Position,
    listed: &'a [Listed],
    at: At,
    line: usize,
    invariant: Invariant,
    standing: Standing,
}

/// By epoch, instance and when it was written, the last revision at which a list has it so: until then it was there.
type Still<'a> = HashMap<(u64, &'a str, u64), u64>;

fn all<'a>(evidence: &Evidence<'a>) -> Vec<List<'a>> {
    let mut lists = Vec::new();
    let lookups = if evidence.run.linearizable { Standing::Broken } else { Standing::Observed };
    for (line, op, listed) in evidence.lookups() {
        if let Outcome::Ok { position: Some(position), .. } = op.outcome {
            let (at, invariant, standing) = (op.returned, Invariant::I17, lookups);
            lists.push(List { position, listed, at, line, invariant, standing });
        }
    }
    for (line, told) in evidence.watchers.values().flatten() {
        if let Item::Reset { position: Some(position), listed, .. } = &told.item {
            let (position, at, line) = (*position, told.at, *line);
            let (invariant, standing) = (Invariant::I4, evidence.of_branches(position.epoch));
            lists.push(List { position, listed, at, line, invariant, standing });
        }
    }
    for (line, read) in &evidence.finals {
        if let Some(position) = read.position {
            let (at, listed, line) = (read.invoked, read.listed.as_slice(), *line);
            let (invariant, standing) = (Invariant::I17, Standing::Broken);
            lists.push(List { position, listed, at, line, invariant, standing });
        }
    }
    lists.sort_by_key(|list| (list.position.epoch, list.position.revision));
    lists
}

pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let lists = all(evidence);
    let mut listed: Still<'_> = HashMap::new();
    for (count, list) in lists.iter().enumerate() {
        if count.is_multiple_of(STEPS) {
            patience.hold()?;
        }
        let Position { epoch, revision } = list.position;
        for entry in list.listed {
            if let Some(modified) = entry.modified {
                let last = listed.entry((epoch, &entry.id, modified)).or_default();
                *last = revision.max(*last);
            }
        }
    }
    let mut lists = lists.iter().peekable();
    for (epoch, facts) in truth.epochs() {
        let mut facts = facts.iter().peekable();
        let mut last: HashMap<&str, &Fact<'_>> = HashMap::new();
        let mut present: BTreeMap<&str, &Fact<'_>> = BTreeMap::new();
        let mut count = 0_usize;
        while let Some(list) = lists.next_if(|list| list.position.epoch <= epoch) {
            if list.position.epoch < epoch {
                continue;
            }
            if count.is_multiple_of(STEPS) {
                patience.hold()?;
            }
            count += 1;
            while let Some(fact) = facts.next_if(|fact| fact.revision <= list.position.revision) {
                last.insert(fact.id, fact);
                match fact.state {
                    State::Put { .. } => present.insert(fact.id, fact),
                    State::Gone { .. } => present.remove(fact.id),
                };
            }
            compare(list, &last, &present, (truth, &listed), found);
        }
    }
    Ok(())
}

fn compare(
    list: &List<'_>,
    last: &HashMap<&str, &Fact<'_>>,
    present: &BTreeMap<&str, &Fact<'_>>,
    (truth, still): (&Truth<'_>, &Still<'_>),
    found: &mut Found,
) {
    let Position { epoch, revision } = list.position;
    let mut wrong = |id: &str, lines: &[usize], why: &dyn Fn() -> String| {
        found.push(list.invariant, list.standing, list.at, Some(id), lines, || {
            format!("the list at {} {}", shown(list.position), why())
        });
    };
    let mut ids: Vec<&str> = Vec::with_capacity(list.listed.len());
    for entry in list.listed {
        let id = entry.id.as_str();
        ids.push(id);
        let Some(fact) = last.get(id) else { continue };
        let older = entry.modified.is_some_and(|modified| modified < fact.revision);
        let differs = match fact.state {
            State::Put { value, .. } => older || entry.modified.is_none() && value != entry.value,
            State::Gone { .. } => older || entry.modified.is_none(),
        };
        if differs {
            wrong(id, &[fact.line, list.line], &|| {
                let (value, at) = (entry.value, fact.revision);
                format!("has {id} with {value}, which at {at} had become {:?}", fact.state)
            });
        }
        if entry.modified.is_some_and(|modified| modified > revision) {
            wrong(id, &[list.line], &|| format!("has {id} as written later, at {:?}", entry.modified));
        }
    }
    ids.sort_unstable();
    for (id, fact) in present {
        let there = || {
            let later = still.get(&(epoch, *id, fact.revision)).is_some_and(|later| revision <= *later);
            later || truth.covers(epoch, fact.revision, revision)
        };
        if ids.binary_search(id).is_err() && there() {
            wrong(id, &[fact.line, list.line], &|| {
                format!("lacks {id}, which was written at {} and not removed since", fact.revision)
            });
        }
    }
}
