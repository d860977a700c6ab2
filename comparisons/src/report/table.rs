//! The table in which the arms of an experiment are compared, as texts.

use super::format;
use super::overview::Judged;
use crate::experiment::{Column, OfRuns};
use crate::record::{Outcome, Records};

/// A table of texts.
#[derive(Debug, PartialEq)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    /// Each begins with the arm.
    pub(super) rows: Vec<Vec<String>>,
}

/// The arms by the columns of the experiment, and how many of their runs count.
pub(super) fn table(judged: &Judged<'_>) -> Table {
    let columns = judged.experiment.columns();
    let titles = columns.iter().map(|column| column.title.to_owned());
    let head = std::iter::once("Arm".to_owned()).chain(titles).chain(["Runs that count".to_owned()]);
    let rows = judged.records.arms().into_iter().map(|arm| {
        let figures = columns.iter().map(|column| cell(&judged.records, arm, column));
        std::iter::once(arm.to_owned()).chain(figures).chain([runs(&judged.records, arm)]).collect()
    });
    Table { head: head.collect(), rows: rows.collect() }
}

fn cell(records: &Records, arm: &str, column: &Column) -> String {
    let value = match column.of_runs {
        OfRuns::Sum => records.sum(arm, column.figure),
        OfRuns::Median => records.median(arm, column.figure),
        OfRuns::Max => records.max(arm, column.figure),
        OfRuns::Min => records.min(arm, column.figure),
    };
    value.map_or_else(|| format::NOTHING.to_owned(), |value| format::figure(value, column.unit))
}

fn runs(records: &Records, arm: &str) -> String {
    let all = records.all().filter(|record| record.arm == arm && record.is_run()).count();
    let valid = records.count(arm);
    if valid == 0 && records.all().any(|one| one.arm == arm && matches!(one.outcome, Outcome::NotRun { .. }))
    {
        return "not run".to_owned();
    }
    if valid == all {
        format::count(all as f64)
    } else {
        format!("{} of {}", format::count(valid as f64), format::count(all as f64))
    }
}

/// What is to be said about runs: whose, what, and of how many.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) arm: String,
    pub(super) text: String,
    pub(super) runs: usize,
}

impl Note {
    /// As one line.
    pub(super) fn line(&self) -> String {
        match self.runs {
            1 => format!("{}: {}", self.arm, self.text),
            runs => format!("{}: {} ({})", self.arm, self.text, format::runs(runs)),
        }
    }
}

/// The runs that do not count, with the reasons.
pub(super) fn uncounted(records: &Records) -> Vec<Note> {
    notes(records, |outcome| match outcome {
        Outcome::Valid { .. } => None,
        Outcome::Invalid { why } => Some(format!("does not count: {why}")),
        Outcome::NotRun { why } => Some(format!("not run: {why}")),
        Outcome::Failed { why } => Some(format!("broke off: {why}")),
    })
}

/// By what it is known that the faults bit.
pub(super) fn proofs(records: &Records) -> Vec<Note> {
    notes(records, |outcome| match outcome {
        Outcome::Valid { proof } => proof.clone(),
        _ => None,
    })
}

fn notes(records: &Records, of: impl Fn(&Outcome) -> Option<String>) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    for record in records.all() {
        let Some(text) = of(&record.outcome) else { continue };
        match notes.iter_mut().find(|note| note.arm == record.arm && note.text == text) {
            Some(note) => note.runs += 1,
            None => notes.push(Note { arm: record.arm.clone(), text, runs: 1 }),
        }
    }
    notes
}
