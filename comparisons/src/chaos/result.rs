//! What a cell came to, as it is kept: one JSON object a line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check::{Checked, Standing, Violation};
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
    /// Whether that is what was written down beforehand.
    pub as_expected: bool,
    /// The numbers of the invariants that are broken.
    pub broken: BTreeSet<u8>,
    /// Of each that is broken the first violation, with the lines that show it.
    pub shown: Vec<(Violation, Excerpt)>,
    /// How many lines the history has.
    pub lines: usize,
}

/// What `history` of `cell` came to.
#[must_use]
pub fn judged(cell: &Cell, history: &[Line], checked: &Checked) -> Judged {
    let (verdict, why) = judge(history, checked);
    let mut broken = BTreeSet::new();
    let mut shown = Vec::new();
    for violation in checked.violations.iter().filter(|violation| violation.standing == Standing::Broken) {
        if broken.insert(violation.invariant.number()) {
            shown.push((violation.clone(), excerpt(history, violation)));
        }
    }
    let numbers: Vec<u8> = broken.iter().copied().collect();
    let as_expected = expected(cell).iter().all(|expected| expected.fits(verdict, &numbers));
    Judged { verdict, why, as_expected, broken, shown, lines: history.len() }
}

/// What is expected of `cell`, for one fault. What is expected of a pair is not written down: of ours, that they lose nothing without a word.
#[must_use]
pub fn expected(cell: &Cell) -> Option<Expected> {
    let on = |fault: &Fault| fault.on(cell.backend).map(|Expectation { expected, .. }| *expected);
    match &cell.faults[..] {
        [fault] => on(fault),
        faults if cell.backend.is_ours() => {
            let lossy = faults.iter().find_map(|fault| match on(fault)? {
                Expected::AtBest(which) => Some(Expected::AtBest(which)),
                _ => None,
            });
            lossy.or(Some(Expected::SurvivedOrDegraded))
        }
        _ => None,
    }
}

impl CellResult {
    /// Whether it was played, and is not what was written down beforehand.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        matches!(&self.outcome, Outcome::Judged(judged) if !judged.as_expected)
    }

    /// In a line, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = format!("{}: ", self.cell);
        let _ = match &self.outcome {
            Outcome::Judged(judged) => {
                let mark = if judged.as_expected { "" } else { " (NOT AS EXPECTED)" };
                write!(line, "{}{mark}, {}", name(judged.verdict), judged.why)
            }
            Outcome::NotRun { why } => write!(line, "not run, {why}"),
            Outcome::Failed { why } => write!(line, "broke off, {why}"),
        };
        line
    }
}

/// As it is written in tables.
#[must_use]
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Survived => "SURVIVED",
        Verdict::Degraded => "DEGRADED",
        Verdict::Down => "DOWN",
        Verdict::Violated => "VIOLATED",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Invalid => "INVALID",
    }
}

/// The results in the file at `path`; none if there is no such file. A last line that was broken off is left out.
///
/// # Errors
/// The file cannot be read, or a line is no result: which.
pub fn read(path: &Path) -> io::Result<Vec<CellResult>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .enumerate()
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                let what = format!("{}, line {}: {error}", path.display(), at + 1);
                io::Error::new(io::ErrorKind::InvalidData, what)
            })
        })
        .collect()
}

/// Adds a result to the file at `path`, after whatever whole lines there are.
///
/// # Errors
/// It cannot be written.
pub fn append(path: &Path, result: &CellResult) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    mend(&file, path)?;
    let mut line = serde_json::to_vec(result)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

/// Cuts off what was left of a line by a run that was killed while it wrote.
fn mend(file: &File, path: &Path) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() { file.set_len(whole as u64) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::backend::Backend;

    fn result(seed: u64) -> CellResult {
        let cell = Cell { backend: Backend::Etcd, faults: vec![Fault::Wipe], seed };
        CellResult { cell, outcome: Outcome::NotRun { why: "no disk".into() }, seconds: 1.5 }
    }

    #[test]
    fn results_are_read_back_and_a_line_that_was_broken_off_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        append(&path, &result(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"cell\":").unwrap();
        assert_eq!(read(&path).unwrap(), [result(1)]);
        append(&path, &result(2)).unwrap();
        assert_eq!(read(&path).unwrap(), [result(1), result(2)]);
    }

    #[test]
    fn what_is_no_result_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &result(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{}\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("results.jsonl, line 2"), "{error}");
    }

    #[test]
    fn of_a_pair_ours_may_lose_only_what_one_of_the_two_may() {
        let pair = |backend, faults: &[Fault]| expected(&Cell { backend, faults: faults.to_vec(), seed: 1 });
        assert_eq!(pair(Backend::Etcd, &[Fault::LinkCut, Fault::Wipe]), Some(Expected::SurvivedOrDegraded));
        assert_eq!(pair(Backend::RedisNaive, &[Fault::LinkCut, Fault::Wipe]), None);
    }
}
