//! What a cell came to.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::check::{Checked, Standing, Violation};
use super::course::{Course, Window, course, windows};
use super::excerpt::{Excerpt, excerpt};
use super::fault::{Cell as Expectation, Expected, Fault};
use super::history::Line;
use super::plan::Cell;
use super::verdict::{Verdict, judge};

/// What a cell came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Which.
    pub cell: Cell,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// For how long processes stood still meanwhile at the longest, in milliseconds, because the machine was busy.
    #[serde(default)]
    pub late_ms: u64,
}

/// What came of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// It was played, and judged.
    Judged(Box<Judged>),
    /// It cannot be played here.
    NotRun {
        /// What the machine lacks.
        why: String,
    },
    /// Something broke that was not to be tested.
    Failed {
        /// The error.
        why: String,
    },
}

/// What a history came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// In a sentence.
    pub why: String,
    /// What was expected, as it was written down when this was played; none of a pair on the control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Whether that is what was written down beforehand.
    pub as_expected: bool,
    /// The numbers of the invariants that are broken.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub broken: BTreeSet<u8>,
    /// The numbers of the invariants of which something was lost, where that was never promised, and whoever it concerns was told.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost: BTreeSet<u8>,
    /// Of each that is broken the first violation, with the lines that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<(Violation, Excerpt)>,
    /// What was struck, when and how, and what shows that it bit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// What is drawn of it; none where it was left out to save room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// How many lines the history has.
    pub lines: usize,
}

/// What `history` of `cell` came to.
#[must_use]
pub fn judged(cell: &Cell, history: &[Line], checked: &Checked) -> Judged {
    let (verdict, why) = judge(history, checked);
    let of = |standing: Standing| checked.violations.iter().filter(move |one| one.standing == standing);
    let lost = of(Standing::Allowed).map(|violation| violation.invariant.number()).collect();
    let mut broken = BTreeSet::new();
    let mut shown = Vec::new();
    for violation in of(Standing::Broken) {
        if broken.insert(violation.invariant.number()) {
            shown.push((violation.clone(), excerpt(history, violation)));
        }
    }
    let numbers: Vec<u8> = broken.iter().copied().collect();
    let expected = expected(cell);
    Judged {
        verdict,
        why,
        expected: expected.map(in_words),
        as_expected: is_as_expected(expected, verdict, &numbers),
        broken,
        lost,
        shown,
        windows: windows(history),
        course: Some(course(history, &checked.violations)),
        lines: history.len(),
    }
}

/// Where nothing was written down, whatever says something is.
fn is_as_expected(expected: Option<Expected>, verdict: Verdict, broken: &[u8]) -> bool {
    match expected {
        Some(expected) => expected.fits(verdict, broken),
        None => says_something(verdict),
    }
}

/// Whether a verdict says anything about the registry.
#[must_use]
pub fn says_something(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Invalid | Verdict::Unknown)
}

/// What is expected of `cell`, for one fault. What is expected of a pair is not written down: of ours, that they lose nothing without a word.
#[must_use]
pub fn expected(cell: &Cell) -> Option<Expected> {
    let on = |fault: &Fault| fault.on(cell.backend).map(|Expectation { expected, .. }| *expected);
    match &cell.faults[..] {
        [fault] => on(fault),
        _ => cell.backend.is_ours().then_some(Expected::SurvivedOrDegraded),
    }
}

/// What is expected, in words: `VIOLATED (I7 or I8)`.
#[must_use]
pub fn in_words(expected: Expected) -> String {
    let numbers = |which: &[u8]| which.iter().map(|one| format!("I{one}")).collect::<Vec<_>>();
    match expected {
        Expected::Survived => "SURVIVED".to_owned(),
        Expected::Degraded => "DEGRADED".to_owned(),
        Expected::SurvivedOrDegraded => "SURVIVED or DEGRADED".to_owned(),
        Expected::Violated(which) => format!("VIOLATED ({})", numbers(which).join(" or ")),
    }
}

impl CellResult {
    /// Whether it was played, and is not what was written down beforehand.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        self.judged().is_some_and(|judged| !judged.as_expected)
    }

    /// What was judged, if it was.
    #[must_use]
    pub fn judged(&self) -> Option<&Judged> {
        match &self.outcome {
            Outcome::Judged(judged) => Some(judged),
            Outcome::NotRun { .. } | Outcome::Failed { .. } => None,
        }
    }

    /// Whether it broke off.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }

    /// In a line, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = format!("{}: ", self.cell);
        let _ = match &self.outcome {
            Outcome::Judged(judged) => {
                let mark = if judged.as_expected { "" } else { " (NOT AS EXPECTED)" };
                write!(line, "{}{mark}, {}", judged.verdict, judged.why)
            }
            Outcome::NotRun { why } => write!(line, "not run, {why}"),
            Outcome::Failed { why } => write!(line, "broke off, {why}"),
        };
        line
    }
}

impl Verdict {
    /// All of them, from good to bad.
    pub const ALL: [Self; 6] =
        [Self::Survived, Self::Degraded, Self::Down, Self::Violated, Self::Unknown, Self::Invalid];

    /// As it is written in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Survived => "SURVIVED",
            Self::Degraded => "DEGRADED",
            Self::Down => "DOWN",
            Self::Violated => "VIOLATED",
            Self::Unknown => "UNKNOWN",
            Self::Invalid => "INVALID",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::backend::Backend;

    #[test]
    fn of_a_pair_ours_is_to_lose_nothing_without_a_word() {
        let pair = |backend, faults: &[Fault]| expected(&Cell { backend, faults: faults.to_vec(), seed: 1 });
        assert_eq!(pair(Backend::Etcd, &[Fault::LinkCut, Fault::Wipe]), Some(Expected::SurvivedOrDegraded));
        let split = pair(Backend::RedisSentinel, &[Fault::SlowConsumer, Fault::SplitBrain]);
        assert_eq!(split, Some(Expected::SurvivedOrDegraded));
        assert_eq!(pair(Backend::RedisNaive, &[Fault::LinkCut, Fault::Wipe]), None);
    }

    #[test]
    fn what_says_nothing_is_as_nobody_expected_it() {
        assert!(
            is_as_expected(None, Verdict::Violated, &[7]) && is_as_expected(None, Verdict::Survived, &[])
        );
        assert!(!is_as_expected(None, Verdict::Invalid, &[]) && !is_as_expected(None, Verdict::Unknown, &[]));
    }

    #[test]
    fn what_is_expected_is_told_with_the_invariants() {
        assert_eq!(in_words(Expected::Violated(&[7, 8])), "VIOLATED (I7 or I8)");
        assert_eq!(in_words(Expected::SurvivedOrDegraded), "SURVIVED or DEGRADED");
    }
}
