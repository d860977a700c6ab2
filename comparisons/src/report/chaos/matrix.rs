//! The matrix of faults and backends, as values.

use std::collections::BTreeMap;

use crate::chaos::backend::Backend;
use crate::chaos::coverage::is_pair;
use crate::chaos::fault::Fault;
use crate::chaos::result::{CellResult, Outcome, expected, in_words};
use crate::chaos::verdict::Verdict;

/// What one fault on one backend came to, with all its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Square<'a> {
    pub(super) results: Vec<&'a CellResult>,
}

impl<'a> Square<'a> {
    /// How often it came to what, from good to bad.
    pub(super) fn verdicts(&self) -> Vec<(Verdict, usize)> {
        let verdicts = self.results.iter().filter_map(|result| result.judged()).map(|judged| judged.verdict);
        let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
        verdicts.for_each(|verdict| *counts.entry(verdict).or_default() += 1);
        counts.into_iter().collect()
    }

    /// What did not come to what was written down beforehand.
    pub(super) fn findings(&self) -> Vec<&'a CellResult> {
        self.results.iter().copied().filter(|result| result.is_finding()).collect()
    }

    /// How many broke off.
    pub(super) fn failed(&self) -> usize {
        self.results.iter().filter(|result| result.has_failed()).count()
    }

    /// How many could not be played here.
    pub(super) fn not_run(&self) -> usize {
        self.results.iter().filter(|result| matches!(result.outcome, Outcome::NotRun { .. })).count()
    }

    /// What is written down now.
    pub(super) fn expected(&self) -> Option<String> {
        self.results.first().and_then(|result| expected(&result.cell)).map(in_words)
    }
}

/// A row for each fault that was played, with what it came to on each backend.
pub(super) type Matrix<'a> = Vec<(Fault, BTreeMap<Backend, Square<'a>>)>;

/// The matrix of single faults, in the order of the catalogue.
pub(super) fn matrix<'a>(results: impl IntoIterator<Item = &'a CellResult>) -> Matrix<'a> {
    let mut rows: BTreeMap<Fault, BTreeMap<Backend, Square<'a>>> = BTreeMap::new();
    for result in results {
        if let [fault] = result.cell.faults[..] {
            rows.entry(fault).or_default().entry(result.cell.backend).or_default().results.push(result);
        }
    }
    rows.into_iter().collect()
}

/// The pairs by backend.
pub(super) fn pairs<'a>(results: impl IntoIterator<Item = &'a CellResult>) -> BTreeMap<Backend, Square<'a>> {
    let mut pairs: BTreeMap<Backend, Square<'a>> = BTreeMap::new();
    for result in results.into_iter().filter(|result| is_pair(&result.cell)) {
        pairs.entry(result.cell.backend).or_default().results.push(result);
    }
    pairs
}

/// Fault by backend for a terminal: the worst verdict of several seeds, with a mark if one of them is not as expected.
#[must_use]
pub fn text_matrix(results: &[&CellResult]) -> String {
    let none = Square::default();
    let mut table = format!("{:<22}", "");
    for backend in Backend::ALL {
        table.push_str(&format!("{:<15}", backend.name()));
    }
    let rows = matrix(results.iter().copied());
    let rows = rows.into_iter().map(|(fault, row)| (fault.id(), row));
    let pairs = pairs(results.iter().copied());
    let pairs = (!pairs.is_empty()).then_some(("pairs", pairs));
    for (name, row) in rows.chain(pairs) {
        table.push_str(&format!("\n{name:<22}"));
        for backend in Backend::ALL {
            table.push_str(&format!("{:<15}", in_short(row.get(&backend).unwrap_or(&none))));
        }
    }
    table
}

fn in_short(square: &Square<'_>) -> String {
    let mark = if square.findings().is_empty() { "" } else { " !" };
    match square.verdicts().last() {
        Some((worst, _)) => format!("{worst}{mark}"),
        None if square.failed() > 0 => "broke off".to_owned(),
        None if square.not_run() > 0 => "not run".to_owned(),
        None => "·".to_owned(),
    }
}
