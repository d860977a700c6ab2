//! I11 and I14: who means to be listed is, in the end, with the last value that was acknowledged. That it says so itself is not enough.

use std::collections::{BTreeMap, HashMap};

use super::evidence::{Evidence, Of};
use super::found::{Found, Invariant};
use super::truth::Truth;
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Final, Listed, Operation, Outcome, Owner, Step, Verb};

/// How long an owner may take, beside a TTL and the time to converge, until it is listed again, in ms: it learns with a heartbeat that its place is gone, and
/// waits before it asks again.
pub const RETURN_MS: u64 = 2_000;

/// When everything that was lost must be back after the last fault was healed.
pub(super) fn all_back(evidence: &Evidence<'_>) -> At {
    let run = evidence.run;
    evidence.windows.healed().plus_ms(run.ttl_ms + run.convergence_ms + RETURN_MS)
}

pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let owners = owners(evidence);
    let read = evidence.last_read();
    let writes = writes(evidence);
    for ((id, owner), steps) in &owners {
        patience.hold()?;
        if steps.iter().any(|(_, step)| matches!(step.step, Step::Leaves | Step::Left | Step::Crashes)) {
            continue;
        }
        let taken_over = || owners.keys().any(|(other, by)| other == id && by != owner);
        returns(evidence, (id, owner), steps, taken_over(), found);
        if let Some((read_line, read)) = read
            && let Some((line, last)) = steps.iter().rev().find(|(_, step)| step.at <= read.invoked)
            && last.step == Step::Registered
        {
            if read.invoked >= all_back(evidence) && !read.listed.iter().any(|listed| listed.id == *id) {
                // Whatever the store lost, and whatever its owner believes.
                found.broken(Invariant::I14, read.invoked, *id, &[*line, read_line], || {
                    format!("{owner} says that it is registered as {id}, and long after everything was healed the final list lacks it")
                });
            }
            kept(id, *line, writes.get(id).map_or(&[], Vec::as_slice), (read_line, read), found);
        }
    }
    Ok(())
}

type Steps<'a> = Vec<Of<'a, Owner>>;

/// The steps of each owner, in order, by instance and owner.
fn owners<'a>(evidence: &Evidence<'a>) -> BTreeMap<(&'a str, &'a str), Steps<'a>> {
    let mut all: BTreeMap<_, Steps<'_>> = BTreeMap::new();
    for (line, step) in &evidence.owners {
        all.entry((step.id.as_str(), step.owner.as_str())).or_default().push((*line, step));
    }
    all
}

/// I14: within its time after everything was healed, it was registered.
fn returns(
    evidence: &Evidence<'_>,
    (id, owner): (&str, &str),
    steps: &[Of<'_, Owner>],
    taken_over: bool,
    found: &mut Found,
) {
    let Some((line, start)) = steps.iter().find(|(_, step)| step.step == Step::Starts) else { return };
    let run = evidence.run;
    let from = evidence.windows.healed().max(start.at);
    let by = from.plus_ms(run.convergence_ms + run.ttl_ms + RETURN_MS);
    if by > evidence.end {
        return;
    }
    let (last, step) = steps.iter().rev().find(|(_, step)| step.at <= by).copied().unwrap_or((*line, start));
    let mut since = steps.iter().filter(|(_, step)| from < step.at && step.at <= by);
    if step.step == Step::Registered || since.any(|(_, step)| step.step == Step::Registered) {
        return;
    }
    if step.step == Step::Fenced && taken_over {
        return;
    }
    found.broken(Invariant::I14, by, id, &[*line, last], || {
        format!(
            "{owner} means to be listed as {id}, and {} after {from} it is {:?}",
            At(by.0 - from.0),
            step.step
        )
    });
}

/// What may have been written of an instance, by the time it was asked for.
fn writes<'a>(evidence: &Evidence<'a>) -> HashMap<&'a str, Vec<Of<'a, Operation>>> {
    let mut all: HashMap<&str, Vec<Of<'_, Operation>>> = HashMap::new();
    for (line, op) in &evidence.operations {
        if let (Some(id), true, Verb::Register | Verb::Update) = (op.id.as_deref(), op.may_be_done(), op.verb)
        {
            all.entry(id).or_default().push((*line, op));
        }
    }
    all
}

/// I11: `id` is in the last list, with its last value.
fn kept(
    id: &str,
    line: usize,
    writes: &[Of<'_, Operation>],
    (read_line, read): (usize, &Final),
    found: &mut Found,
) {
    let Some(listed) = read.listed.iter().find(|listed| listed.id == id) else {
        found.broken(Invariant::I11, read.invoked, id, &[line, read_line], || {
            format!("{id} says that it is registered, and is not in the final list")
        });
        return;
    };
    // The last acknowledged write that was there before the read; what began before it had ended, or is later, may have come second.
    let acknowledged = writes.iter().filter(|(_, op)| op.is_ok() && op.returned <= read.invoked);
    let Some((last_line, last)) = acknowledged.max_by_key(|(_, op)| op.invoked) else { return };
    let is = |op: &Operation| op.value == Some(listed.value);
    let known = writes.iter().any(|(_, op)| is(op));
    let lower = |op: &Operation| matches!((revision(op), revision(last)), (Some(a), Some(b)) if a < b);
    let may_be =
        |op: &Operation| op.value == last.value || op.returned >= last.invoked && !lower(op) || !op.is_ok();
    if known && !writes.iter().any(|(_, op)| is(op) && may_be(op)) {
        found.broken(Invariant::I11, read.invoked, id, &[*last_line, read_line], || {
            let (value, Listed { value: old, .. }) = (last.value, listed);
            format!("{id} was acknowledged with {value:?}, and the final list has {old}")
        });
    }
}

fn revision(op: &Operation) -> Option<u64> {
    if let Outcome::Ok { revision, .. } = op.outcome { revision } else { None }
}
