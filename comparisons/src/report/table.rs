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

/// The runs that do not count, with the reasons: a line for each kind of reason, with the range of its numbers and how many runs of which arm.
pub(super) fn uncounted(records: &Records) -> Vec<String> {
    let broken_off = notes(records, |outcome| match outcome {
        Outcome::Valid { .. } | Outcome::Invalid { .. } => None,
        Outcome::NotRun { why } => Some(format!("not run: {why}")),
        Outcome::Failed { why } => Some(format!("broke off: {why}")),
    });
    let mut kinds: Vec<Kind> = Vec::new();
    for record in records.all() {
        let Outcome::Invalid { why } = &record.outcome else { continue };
        let (words, numbers) = apart(why);
        match kinds.iter_mut().find(|kind| kind.words == words) {
            Some(kind) => kind.add(&record.arm, &numbers),
            None => kinds.push(Kind {
                words,
                ranges: numbers.into_iter().map(|number| [number; 2]).collect(),
                arms: vec![(record.arm.clone(), 1)],
            }),
        }
    }
    broken_off.iter().map(Note::line).chain(kinds.iter().map(Kind::line)).collect()
}

/// Runs that do not count for reasons that differ only in their numbers.
struct Kind {
    /// What stands before, between and after the numbers.
    words: Vec<String>,
    ranges: Vec<[u64; 2]>,
    arms: Vec<(String, usize)>,
}

impl Kind {
    fn add(&mut self, arm: &str, numbers: &[u64]) {
        for ([least, most], number) in self.ranges.iter_mut().zip(numbers) {
            (*least, *most) = ((*least).min(*number), (*most).max(*number));
        }
        match self.arms.iter_mut().find(|(other, _)| other == arm) {
            Some((_, runs)) => *runs += 1,
            None => self.arms.push((arm.to_owned(), 1)),
        }
    }

    fn line(&self) -> String {
        let number = |number: u64| format::count(number as f64);
        let ranges = self.ranges.iter().map(|[least, most]| match least == most {
            true => number(*least),
            false => format!("{} to {}", number(*least), number(*most)),
        });
        let ranges = ranges.chain([String::new()]);
        let why: String =
            self.words.iter().zip(ranges).map(|(words, range)| format!("{words}{range}")).collect();
        if let [(arm, 1)] = self.arms.as_slice() {
            return format!("{arm}: does not count: {why}");
        }
        let all = format::runs(self.arms.iter().map(|(_, runs)| runs).sum());
        let arms: Vec<String> = self.arms.iter().map(|(arm, runs)| format!("{arm}: {runs}")).collect();
        format!("{all} do not count: {why} ({})", arms.join("; "))
    }
}

/// The whole numbers of a text, and what stands around them.
fn apart(text: &str) -> (Vec<String>, Vec<u64>) {
    let (mut words, mut numbers) = (vec![String::new()], Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let ends = from.find(|letter: char| !letter.is_ascii_digit() && letter != ',').unwrap_or(from.len());
        let digits = from[..ends].trim_end_matches(',');
        if let (Some(last), Ok(number)) = (words.last_mut(), digits.replace(',', "").parse()) {
            last.push_str(before);
            numbers.push(number);
            words.push(String::new());
        } else if let Some(last) = words.last_mut() {
            last.push_str(before);
            last.push_str(digits);
        }
        rest = &from[digits.len()..];
    }
    if let Some(last) = words.last_mut() {
        last.push_str(rest);
    }
    (words, numbers)
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
