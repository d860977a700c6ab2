//! The same in Markdown, short, for the documents of this project.

use std::fmt::Write as _;

use super::super::markdown::{escaped, row};
use super::matrix::{Square, matrix, pairs};
use super::overview::{VERDICTS, answers, extent, findings, goes, missing};
use crate::chaos::backend::Backend;
use crate::chaos::record::Record;

/// What the README of the comparisons shows: what it came to, the matrix, and whatever was not expected.
#[must_use]
pub fn section(record: &Record) -> String {
    if record.cells.is_empty() {
        return "Nothing is recorded yet.".to_owned();
    }
    let mut text = format!("{}\n\n{}\n\n", answers(record).join(" "), extent(record));
    let (singles, pairs) = (matrix(record.results()), pairs(record.results()));
    let rows = singles.iter().map(|(fault, row)| (fault.id(), row));
    let rows: Vec<_> = rows.chain((!pairs.is_empty()).then_some(("pairs", &pairs))).collect();
    let backends: Vec<Backend> =
        Backend::ALL.into_iter().filter(|one| rows.iter().any(|(_, row)| row.contains_key(one))).collect();
    row(&mut text, std::iter::once("Fault").chain(backends.iter().map(|backend| backend.name())));
    row(&mut text, std::iter::repeat_n("---", backends.len() + 1));
    for (name, squares) in &rows {
        let is_pair = *name == "pairs";
        let cells =
            backends.iter().map(|one| squares.get(one).map_or("·".to_owned(), |one| square(one, is_pair)));
        let cells: Vec<String> = cells.collect();
        row(&mut text, std::iter::once(*name).chain(cells.iter().map(String::as_str)));
    }
    text.push_str("\nHow many runs came to what; in parentheses what was written down beforehand. ");
    let meanings: Vec<String> =
        VERDICTS.iter().map(|(verdict, what)| format!("{verdict}: {what}.")).collect();
    let _ = writeln!(text, "{}", meanings.join(" "));
    let findings = findings(record);
    if !findings.is_empty() {
        text.push_str("\nNot as expected:\n\n");
        for one in findings {
            let _ = writeln!(text, "- {}", escaped(&one.summary()));
        }
    }
    let missing = missing(record);
    if !missing.is_empty() {
        let _ = write!(text, "\nMissing: {}\n", escaped(&missing.join(" ")));
    }
    text.push('\n');
    for (runs, by) in goes(record) {
        let _ = writeln!(text, "{} by {}.  ", escaped(&runs), escaped(&by));
    }
    text.trim_end().to_owned()
}

fn square(square: &Square<'_>, is_pair: bool) -> String {
    let counts = square.verdicts().into_iter().map(|(verdict, many)| format!("{verdict} {many}"));
    let failed = (square.failed() > 0).then(|| format!("broke off {}", square.failed()));
    let not_run = (square.not_run() > 0).then(|| format!("not run {}", square.not_run()));
    let counts: Vec<String> = counts.chain(failed).chain(not_run).collect();
    let expected = square.expected().filter(|_| !is_pair).map_or(String::new(), |one| format!(" ({one})"));
    let differs = match square.findings().len() {
        0 => String::new(),
        some => format!(" **not as expected: {some}**"),
    };
    format!("{}{expected}{differs}", counts.join(", "))
}
