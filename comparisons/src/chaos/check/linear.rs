//! I17, by the revision witness: what was acknowledged before an operation began has a lower revision. What lookups list is checked with all lists.

use std::collections::{BTreeMap, HashMap};

use super::evidence::Evidence;
use super::found::{Found, Invariant, Standing};
use super::truth::{STEPS, State, Truth};
use super::{OutOfTime, Patience};
use crate::chaos::history::{Operation, Outcome, Position, Verb};

/// An operation and the place in history that it was told.
struct Witness<'a> {
    line: usize,
    op: &'a Operation,
    at: Position,
}

pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let epochs = epochs(truth);
    let witness = |(line, op): &(usize, &'_ _)| {
        let op: &Operation = op;
        let at = match op.outcome {
            Outcome::Ok { position: Some(position), .. } => position,
            Outcome::Ok { revision: Some(revision), .. } => {
                let epoch = (*epochs.get(&(op.id.as_deref()?, op.value?, revision))?)?;
                Position { epoch, revision }
            }
            _ => return None,
        };
        Some((*line, at))
    };
    let witnesses: Vec<Witness<'_>> = evidence
        .operations
        .iter()
        .filter_map(|of| witness(of).map(|(line, at)| Witness { line, op: of.1, at }))
        .collect();
    let mut ended: Vec<&Witness<'_>> = witnesses.iter().collect();
    ended.sort_by_key(|witness| witness.op.returned);
    let mut ended = ended.into_iter().peekable();
    let mut highest: BTreeMap<u64, &Witness<'_>> = BTreeMap::new();
    let standing = if evidence.run.linearizable { Standing::Broken } else { Standing::Observed };
    // In the order in which they were invoked.
    for (count, witness) in witnesses.iter().enumerate() {
        if count.is_multiple_of(STEPS) {
            patience.hold()?;
        }
        while let Some(done) = ended.next_if(|done| done.op.returned < witness.op.invoked) {
            let high = highest.entry(done.at.epoch).or_insert(done);
            if high.at.revision < done.at.revision {
                *high = done;
            }
        }
        // A registration that is repeated may be answered with its old revision.
        let Some(high) = highest.get(&witness.at.epoch).filter(|_| witness.op.verb != Verb::Register) else {
            continue;
        };
        let same = witness.at.revision == high.at.revision && witness.op.verb == Verb::Update;
        if witness.at.revision < high.at.revision || same {
            let (op, lines) = (witness.op, [high.line, witness.line]);
            found.push(Invariant::I17, standing, op.returned, op.id.as_deref(), &lines, || {
                let (verb, now, before) = (op.verb, witness.at.revision, high.at.revision);
                format!("{verb:?} at revision {now} began after {before} had been acknowledged")
            });
        }
    }
    Ok(())
}

/// In which epoch each write was done; none where it cannot be told.
fn epochs<'a>(truth: &Truth<'a>) -> HashMap<(&'a str, u64, u64), Option<u64>> {
    let mut epochs = HashMap::new();
    for (epoch, facts) in truth.epochs() {
        for fact in facts {
            if let State::Put { value, .. } = fact.state {
                let known = epochs.entry((fact.id, value, fact.revision)).or_insert(Some(epoch));
                *known = known.filter(|known| *known == epoch);
            }
        }
    }
    epochs
}
