//! What a cell of the matrix came to.
//!
//! | the first that holds | verdict |
//! | --- | --- |
//! | nothing says what was played; of the control, a strike without a heal, or a heal of what did not bite | INVALID |
//! | an invariant is broken, beyond what follows from never coming back, whether or not the fault bit | VIOLATED |
//! | a strike without a heal; a heal of what did not bite | INVALID |
//! | no last read, or nobody was answered after everything was healed although somebody asked | DOWN |
//! | an invariant is broken | VIOLATED |
//! | a checker ran out of time; the witness missed some of the store's own log, or did not read it to its end | UNKNOWN |
//! | a watch was told of a gap, or a loss was allowed | DEGRADED |
//! | none of these | SURVIVED |

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::{Checked, Invariant, Standing, Violation};
use super::fault::Fault;
use super::history::{Act, At, Change, Item, Line, Listed, Nemesis, Outcome, Truth};

/// What a cell of the matrix came to; ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// All invariants hold, and no watch had a gap.
    Survived,
    /// All invariants hold; a watch had a gap, said so, and converged.
    Degraded,
    /// It did not come back within its time after the fault was healed.
    Down,
    /// An invariant is broken.
    Violated,
    /// A checker ran out of time, or lacked the truth.
    Unknown,
    /// The fault did not provably bite, or the machine was too slow to tell: it says nothing.
    Invalid,
}

/// With this the witness notes that it has missed something, and why.
pub(super) const TRUTH_GAP: &str = "truth_gap: ";

/// What follows from a registry that never came back.
const OF_DOWN: [Invariant; 3] = [Invariant::I8, Invariant::I11, Invariant::I14];

/// What `history`, in which `checked` was found, came to, and why.
#[must_use]
pub fn judge(history: &[Line], checked: &Checked) -> (Verdict, String) {
    let broken = || checked.violations.iter().filter(|violation| violation.standing == Standing::Broken);
    let say = |violation: &Violation| format!("{}: {}", violation.invariant, violation.what);
    if !history.iter().any(|line| matches!(line, Line::Run(_))) {
        return (Verdict::Invalid, "nothing says what was played".to_owned());
    }
    let invalid = invalid(history);
    // The control breaks something even when nothing is struck: that it was caught under a fault needs the fault.
    let is_control = history.iter().any(|line| matches!(line, Line::Run(run) if !run.backend.is_ours()));
    if let Some(why) = invalid.as_ref().filter(|_| is_control) {
        return (Verdict::Invalid, why.clone());
    }
    if let Some(worst) = broken().filter(|violation| !OF_DOWN.contains(&violation.invariant)).max_by_key(rank)
    {
        let beside = invalid.map_or(String::new(), |why| format!(" (besides, {why})"));
        return (Verdict::Violated, say(worst) + &beside);
    }
    if let Some(why) = invalid {
        return (Verdict::Invalid, why);
    }
    if let Some(why) = down(history) {
        return (Verdict::Down, why);
    }
    if let Some(worst) = broken().max_by_key(rank) {
        return (Verdict::Violated, say(worst));
    }
    if !checked.unfinished.is_empty() {
        return (Verdict::Unknown, format!("no time left for {}", checked.unfinished.join(", ")));
    }
    if let Some(why) = unread(history) {
        return (Verdict::Unknown, why);
    }
    let allowed = checked.violations.iter().find(|violation| violation.standing == Standing::Allowed);
    if let Some(allowed) = allowed {
        return (
            Verdict::Degraded,
            format!("what was acknowledged may be lost, and that was told: {}", say(allowed)),
        );
    }
    match gaps(history) {
        0 => (Verdict::Survived, "all invariants hold, and no watch had a gap".to_owned()),
        gaps => (Verdict::Degraded, format!("all invariants hold; watches were told of {gaps} gaps")),
    }
}

/// Silent loss is the worst, then what makes watchers wrong; of the same, the first.
fn rank(violation: &&Violation) -> (usize, std::cmp::Reverse<At>) {
    const WORST: [Invariant; 9] = [
        Invariant::I7,
        Invariant::I4,
        Invariant::I8,
        Invariant::I9,
        Invariant::I10,
        Invariant::I11,
        Invariant::I12,
        Invariant::I14,
        Invariant::I13,
    ];
    let place = WORST.iter().position(|invariant| *invariant == violation.invariant);
    (WORST.len() - place.unwrap_or(WORST.len()), std::cmp::Reverse(violation.at))
}

fn invalid(history: &[Line]) -> Option<String> {
    let mut open: Vec<Fault> = Vec::new();
    for Nemesis { fault, act, .. } in nemesis(history) {
        match act {
            Act::Strikes => open.push(*fault),
            Act::Healed { bitten: false, proof } => return Some(format!("{fault:?} did not bite: {proof}")),
            Act::Healed { .. } => open.retain(|other| other != fault),
            Act::Struck { .. } | Act::Heals => {}
        }
    }
    open.first().map(|fault| format!("{fault:?} was never healed"))
}

fn nemesis(history: &[Line]) -> impl Iterator<Item = &Nemesis> {
    history.iter().filter_map(|line| if let Line::Nemesis(step) = line { Some(step) } else { None })
}

fn down(history: &[Line]) -> Option<String> {
    if !history.iter().any(|line| matches!(line, Line::Final(_))) {
        return Some("there is no last read".to_owned());
    }
    let healed =
        nemesis(history).filter(|step| matches!(step.act, Act::Healed { .. })).map(|step| step.at).max()?;
    let mut after = history
        .iter()
        .filter_map(|line| if let Line::Operation(op) = line { Some(op) } else { None })
        .filter(|op| op.invoked >= healed)
        .peekable();
    let asked = after.peek().is_some();
    let answered = after.any(|op| matches!(op.outcome, Outcome::Ok { .. }));
    (asked && !answered).then(|| format!("nobody was answered after everything was healed at {healed}"))
}

/// Whether the witness has read the store's own log to its end. What nobody saw happen, no checker can miss.
fn unread(history: &[Line]) -> Option<String> {
    let has_log = |line: &Line| matches!(line, Line::Run(run) if run.backend.is_ours());
    if !history.iter().any(has_log) {
        return None;
    }
    // Where every change of a service has the next number, what nobody has seen shows by its number: a watch that passes over it has lost it without a word. So
    // there what the witness lacks hides no loss; only that within it an older incarnation wrote over a newer one, and both had gone after it.
    let numbered =
        history.iter().any(|line| matches!(line, Line::Run(run) if run.backend.is_ours_on_redis()));
    let missed = history.iter().find_map(|line| match line {
        Line::Note(note) => note.what.strip_prefix(TRUTH_GAP),
        _ => None,
    });
    if let Some(why) = missed.filter(|_| !numbered) {
        return Some(format!("the witness missed some of the store's log: {why}"));
    }
    let finals =
        history.iter().filter_map(|line| if let Line::Final(read) = line { Some(read) } else { None });
    let last = finals.max_by_key(|read| read.invoked)?;
    let epoch = last.position?.epoch;
    let written: BTreeSet<(u64, &str)> = history
        .iter()
        .filter_map(|line| match line {
            Line::Truth(Truth { position, change: Change::Put(put), .. }) if position.epoch == epoch => {
                Some((put.modified?, put.id.as_str()))
            }
            _ => None,
        })
        .collect();
    let unknown = |one: &&Listed| one.modified.is_none_or(|at| !written.contains(&(at, one.id.as_str())));
    let unknown = last.listed.iter().filter(unknown).count();
    let nothing = last.listed.is_empty() && !history.iter().any(|line| matches!(line, Line::Truth(_)));
    (unknown > 0 || nothing).then(|| {
        let all = last.listed.len();
        format!("the witness has not read the store's log to its end: it lacks {unknown} of {all} that are listed there")
    })
}

fn gaps(history: &[Line]) -> usize {
    let gap = |line: &&Line| matches!(line, Line::Told(told) if matches!(told.item, Item::Reset { gap: Some(_), .. }));
    history.iter().filter(gap).count()
}
