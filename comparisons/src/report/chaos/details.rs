//! Each fault, with what it came to on each backend: seeds, pictures, and the lines of histories that show what was broken.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html as markup};

use super::super::html::{facts, prose};
use super::super::overview::sentence;
use super::matrix::Square;
use super::overview::named;
use super::picture::zero;
use super::words::{counted_from, said};
use crate::chaos::backend::Backend;
use crate::chaos::check::Violation;
use crate::chaos::coverage::is_pair;
use crate::chaos::excerpt::Excerpt;
use crate::chaos::fault::{Fault, Needs};
use crate::chaos::history::At;
use crate::chaos::plan::Cell;
use crate::chaos::result::{CellResult, Judged, Outcome, expected, in_words};
use crate::chaos::verdict::Verdict;

/// Where pictures are: in the page, or, where there is no room for them, beside it.
#[derive(Debug)]
pub(super) enum Drawn {
    Here(String),
    Beside(String),
}

/// The pictures of runs.
pub(super) type Pictures = BTreeMap<Cell, Drawn>;

/// Where a square is in the page.
pub(super) fn anchor(fault: Option<Fault>, backend: Backend) -> String {
    format!("{}.{backend}", fault.map_or("pairs", Fault::id))
}

/// A verdict with its colour and how often it was reached.
pub(super) fn chip(verdict: Verdict, many: Option<usize>) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Survived => ("survived", "✔"),
        Verdict::Degraded => ("degraded", "◐"),
        Verdict::Down => ("down", "▼"),
        Verdict::Violated => ("violated", "✘"),
        Verdict::Unknown | Verdict::Invalid => ("nothing", "?"),
    };
    markup! {
        span class={ "verdict " (class) } {
            span aria-hidden="true" { (sign) } " " (verdict) @if let Some(many) = many { " " (many) }
        }
    }
}

/// One fault.
pub(super) fn article(fault: Fault, row: &BTreeMap<Backend, Square<'_>>, pictures: &Pictures) -> Markup {
    let about = fault.row();
    let needs = match about.needs {
        Needs::Nothing => "",
        Needs::LoopDevice => "root that may mount a loop device",
        Needs::Compiler => "a C compiler",
    };
    let tests: Vec<String> = about.invariants.iter().map(|number| format!("I{number}")).collect();
    let tests = tests.join(", ");
    markup! {
        article aria-labelledby=(fault.id()) {
            h3 id=(fault.id()) { (fault.id()) }
            p.question { (prose(about.what)) }
            (facts(&[
                ("How it is injected", about.injected),
                ("By what it is known to have bitten", about.proof),
                ("Needs", needs),
                ("Puts to the test above all", &tests),
            ]))
            @for (backend, square) in row { (of_backend(Some(fault), *backend, square, pictures)) }
        }
    }
}

/// The pairs.
pub(super) fn pairs(row: &BTreeMap<Backend, Square<'_>>, pictures: &Pictures) -> Markup {
    markup! {
        article aria-labelledby="pairs" {
            h3 #pairs { "Two faults at once" }
            p.question {
                "Pairs are drawn from the seed, among those that strike different things; the second strikes up to a second and a half after the first. \
                 Nothing was written down for each pair: ours are to lose nothing without a word, and may lose what one of the two alone may."
            }
            @for (backend, square) in row { (of_backend(None, *backend, square, pictures)) }
        }
    }
}

fn of_backend(fault: Option<Fault>, backend: Backend, square: &Square<'_>, pictures: &Pictures) -> Markup {
    let findings = square.findings();
    let expected = square.expected().filter(|_| fault.is_some());
    // In full: whatever was not expected, and the first of the others.
    let judged = || square.results.iter().copied().filter(|result| result.judged().is_some());
    let first = judged().find(|result| !result.is_finding());
    let full: Vec<&CellResult> = findings.iter().copied().chain(first).collect();
    markup! {
        details id=(anchor(fault, backend)) open=[(!findings.is_empty()).then_some("")] {
            summary {
                strong { (backend) }
                @for (verdict, many) in square.verdicts() { " " (chip(verdict, Some(many))) }
                @if square.failed() > 0 { " broke off " (square.failed()) }
                @if square.not_run() > 0 { " not run " (square.not_run()) }
                @if let Some(expected) = &expected { span.expected { " expected: " (expected) } }
                @if !findings.is_empty() { strong.differs { " not as expected: " (findings.len()) } }
            }
            (seeds(square))
            @for result in &square.results {
                @if let Outcome::NotRun { why } | Outcome::Failed { why } = &result.outcome {
                    p.missing {
                        strong { "Seed " (result.cell.seed) (of_pair(result)) ": " }
                        @if result.has_failed() { "broke off: " } @else { "not run: " }
                        (sentence(why))
                    }
                }
            }
            @for result in full { (one(result, pictures)) }
        }
    }
}

fn of_pair(result: &CellResult) -> String {
    if is_pair(&result.cell) { format!(", {}", named(result)) } else { String::new() }
}

/// Which seeds came to what.
fn seeds(square: &Square<'_>) -> Markup {
    let mut seeds: BTreeMap<Verdict, Vec<String>> = BTreeMap::new();
    for result in &square.results {
        let Some(judged) = result.judged() else { continue };
        let broken: Vec<String> = judged.broken.iter().map(|number| format!("I{number}")).collect();
        let broken = if broken.is_empty() { String::new() } else { format!(" ({})", broken.join(", ")) };
        seeds.entry(judged.verdict).or_default().push(format!(
            "{}{}{broken}",
            result.cell.seed,
            of_pair(result)
        ));
    }
    markup! {
        ul.seeds {
            @for (verdict, seeds) in &seeds {
                li { (chip(*verdict, None)) @if seeds.len() == 1 { " seed " } @else { " seeds " } (seeds.join("; ")) }
            }
        }
    }
}

/// A run in full.
fn one(result: &CellResult, pictures: &Pictures) -> Markup {
    let Some(judged) = result.judged() else { return markup! {} };
    let now = expected(&result.cell).map(in_words);
    let then = judged.expected.as_ref().filter(|then| now.as_ref() != Some(*then));
    markup! {
        section.run {
            h4 {
                "Seed " (result.cell.seed) (of_pair(result)) ": " (chip(judged.verdict, None))
                @if !judged.as_expected { strong.differs { " not as expected" } }
            }
            p { (sentence(&counted_from(&judged.why, zero(judged)))) }
            @if let Some(then) = then { p.soft { "Expected when it was played: " (then) "." } }
            @for window in &judged.windows {
                p.soft {
                    strong { (window.fault) ": " } (sentence(&window.what)) " "
                    @if !window.proof.is_empty() { (sentence(&window.proof)) }
                }
            }
            @match pictures.get(&result.cell) {
                Some(Drawn::Here(svg)) => figure { (PreEscaped(svg)) },
                Some(Drawn::Beside(file)) => p { "Its picture lies beside this page: " code { (file) } "." },
                None => {},
            }
            (excerpts(judged))
        }
    }
}

fn excerpts(judged: &Judged) -> Markup {
    let zero = zero(judged);
    // Two that are shown by the same lines are told once.
    let mut shown: BTreeSet<Vec<usize>> = BTreeSet::new();
    let mut all: Vec<&(Violation, Excerpt)> = judged.shown.iter().collect();
    all.retain(|(_, excerpt)| shown.insert(excerpt.lines.iter().map(|(index, _)| *index).collect()));
    markup! {
        @for (violation, excerpt) in all { (told(violation, excerpt, zero)) }
    }
}

/// A violation, with the lines that show it.
fn told(violation: &Violation, excerpt: &Excerpt, zero: At) -> Markup {
    let label = format!("What shows that {} is broken", violation.invariant);
    markup! {
        p { strong { (violation.invariant) ": " } (sentence(&counted_from(&violation.what, zero))) }
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table.excerpt role="table" aria-label=(label) {
                tbody role="rowgroup" {
                    @for (_, line) in &excerpt.lines {
                        @let said = said(line, zero);
                        tr role="row" {
                            td role="cell" { (said.when.unwrap_or_default()) }
                            th scope="row" role="rowheader" { (said.who) }
                            td role="cell" { (said.what) }
                        }
                    }
                }
            }
        }
    }
}
