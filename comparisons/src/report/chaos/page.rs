//! The report as one page that needs nothing else: no network, no script.

use std::collections::BTreeMap;

use maud::{Markup, html as markup};

use super::super::draw;
use super::super::html::{self, STYLE as SHARED, facts, prose};
use super::details::{Drawn, Pictures, anchor, article, chip, pairs as pairs_of};
use super::matrix::{Matrix, Square, matrix, pairs};
use super::overview::{VERDICTS, answers, extent, findings, goes, invariants, missing, named};
use super::picture::{picture, zero};
use super::words::counted_from;
use crate::chaos::backend::Backend;
use crate::chaos::coverage::is_pair;
use crate::chaos::fault::Fault;
use crate::chaos::record::Record;

pub(in super::super) const STYLE: &str = include_str!("chaos.css");
const TITLE: &str = "What service registries survive";

/// So many bytes of pictures are in the page; what has no room there lies beside it.
const ROOM: usize = 7_000_000;

const INTRODUCTION: &str = "A service registry is the list of the servers that are alive: servers keep their entry by heartbeats, clients watch \
                            the list and are told of changes. Here each registry of this project, on each store that it runs on, is put \
                            under each fault of a catalogue, while some 25 clients in several processes register, renew, update, leave, crash, look up \
                            and watch. All that they asked and were told is one history, and checkers go through it for seventeen \
                            promises, I1 to I17. What is expected of each was written down beforehand; a difference either way is a finding.";

/// A page, and the pictures that lie beside it.
#[derive(Debug)]
pub struct Page {
    /// The page.
    pub html: String,
    /// Pictures that have no room in it, by the names of their files.
    pub pictures: Vec<(String, String)>,
}

/// The page on a record.
#[must_use]
pub fn page(record: &Record) -> Page {
    let record = &record.compact();
    let (drawn, pictures) = drawn(record);
    let (singles, pairs) = (matrix(record.results()), pairs(record.results()));
    let main = markup! {
        header {
            h1 { (TITLE) }
            p.soft { (prose(INTRODUCTION)) }
            div.answer { @for sentence in answers(record) { p { (prose(&sentence)) } } }
            p.soft { (extent(record)) }
        }
        (first_screen(record, &singles, &pairs))
        section aria-labelledby="faults" {
            h2 #faults { "The faults, one by one" }
            p.soft { "Times count from when the first fault was in place. Of each fault on each backend one run is shown, and every one that was not expected." }
            @for (fault, row) in &singles { (article(*fault, row, &drawn)) }
            @if !pairs.is_empty() { (pairs_of(&pairs, &drawn)) }
        }
        (promises())
        section aria-labelledby="environment" {
            h2 #environment { "By what this was played" }
            (goes_of(record))
        }
    };
    Page { html: html::page(TITLE, &[SHARED, STYLE], &main), pictures }
}

fn goes_of(record: &Record) -> Markup {
    let goes = goes(record);
    let goes: Vec<(&str, &str)> = goes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    facts(&goes)
}

/// All pictures there are: of what was not expected first, as long as there is room.
fn drawn(record: &Record) -> (Pictures, Vec<(String, String)>) {
    let mut results: Vec<_> = record.results().collect();
    results.sort_by_key(|result| !result.is_finding());
    let (mut drawn, mut beside) = (Pictures::new(), Vec::new());
    let mut used = 0;
    for result in results {
        let Some(picture) = picture(result) else { continue };
        let svg = draw::svg(&picture);
        used += svg.len();
        let placed = if used <= ROOM {
            Drawn::Here(svg)
        } else {
            let cell = &result.cell;
            let file =
                format!("chaos-{}-{}-{}.svg", cell.backend, named(result).replace(" and ", "-"), cell.seed);
            beside.push((file.clone(), svg));
            Drawn::Beside(file)
        };
        drawn.insert(result.cell.clone(), placed);
    }
    (drawn, beside)
}

fn first_screen(record: &Record, singles: &Matrix<'_>, pairs: &BTreeMap<Backend, Square<'_>>) -> Markup {
    let (missing, findings) = (missing(record), findings(record));
    markup! {
        @if !findings.is_empty() {
            div.missing {
                strong { "Not as expected:" }
                ul {
                    @for one in findings {
                        @let fault = one.cell.faults.first().copied().filter(|_| !is_pair(&one.cell));
                        li {
                            a href={ "#" (anchor(fault, one.cell.backend)) } { (one.cell) } ": "
                            @if let Some(judged) = one.judged() {
                                (chip(judged.verdict, None)) " " (counted_from(&judged.why, zero(judged)))
                            }
                        }
                    }
                }
            }
        }
        (table(singles, pairs, true))
        p.soft { @for (verdict, meaning) in VERDICTS { strong { (verdict) } ": " (meaning) ". " } }
        @if !missing.is_empty() { p.missing { strong { "Missing: " } (missing.join(" ")) } }
    }
}

/// The matrix; where there are details in the same page, with links to them.
fn table(singles: &Matrix<'_>, pairs: &BTreeMap<Backend, Square<'_>>, links: bool) -> Markup {
    let rows: Vec<(Option<Fault>, &BTreeMap<Backend, Square<'_>>)> = singles
        .iter()
        .map(|(fault, row)| (Some(*fault), row))
        .chain((!pairs.is_empty()).then_some((None, pairs)))
        .collect();
    let backends: Vec<Backend> = Backend::ALL
        .into_iter()
        .filter(|backend| rows.iter().any(|(_, row)| row.contains_key(backend)))
        .collect();
    markup! {
        div.scroll role="region" aria-label="Faults and backends" tabindex="0" {
            table.matrix role="table" aria-label="What each backend came to under each fault" {
                thead role="rowgroup" {
                    tr role="row" {
                        th scope="col" role="columnheader" { "Fault" }
                        @for backend in &backends { th scope="col" role="columnheader" { (backend) } }
                    }
                }
                tbody role="rowgroup" {
                    @for (fault, row) in &rows {
                        tr role="row" {
                            th scope="row" role="rowheader" { (name_of(*fault, links)) }
                            @for backend in &backends {
                                @match row.get(backend) {
                                    Some(square) => (square_of(*fault, *backend, square, links)),
                                    None => td.none role="cell" { span aria-label="does not apply, or was not played" { "·" } },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn name_of(fault: Option<Fault>, links: bool) -> Markup {
    let name = fault.map_or("pairs", Fault::id);
    let what = fault.map_or("Two faults at once.", |fault| fault.row().what);
    markup! {
        @if links { a href={ "#" (name) } { (name) } } @else { (name) }
        span.wording { (what) }
    }
}

fn square_of(fault: Option<Fault>, backend: Backend, square: &Square<'_>, links: bool) -> Markup {
    let differs = square.findings().len();
    let counts = markup! {
        @for (verdict, many) in square.verdicts() { (chip(verdict, Some(many))) " " }
        @if square.failed() > 0 { span.verdict.nothing { "broke off " (square.failed()) } }
        @if square.not_run() > 0 { span.verdict.nothing { "not run " (square.not_run()) } }
    };
    markup! {
        td role="cell" data-label=(backend) class=[(differs > 0).then_some("finding")] {
            @if links { a href={ "#" (anchor(fault, backend)) } { (counts) } } @else { (counts) }
            @if let Some(expected) = square.expected().filter(|_| fault.is_some()) {
                span.expected { "expected: " (expected) }
            }
            @if differs > 0 { strong.differs { "not as expected: " (differs) } }
        }
    }
}

fn promises() -> Markup {
    markup! {
        section aria-labelledby="promises" {
            h2 #promises { "The promises" }
            dl.words { @for (name, meaning) in invariants() { div { dt { (name) } dd { (meaning) } } } }
        }
    }
}

/// What the report on the claims shows of it: what it came to, and the matrix.
pub(in super::super) fn summary(record: &Record) -> Markup {
    let (singles, pairs) = (matrix(record.results()), pairs(record.results()));
    markup! {
        section.claim aria-labelledby="chaos" {
            h2 #chaos { "Under faults" }
            p.soft { (prose(INTRODUCTION)) }
            @for sentence in answers(record) { p { (prose(&sentence)) } }
            p.soft { (extent(record)) " Each run, with pictures and the lines of histories that show what was broken, is in chaos.html beside this page." }
            (table(&singles, &pairs, false))
            p.soft { @for (verdict, meaning) in VERDICTS { strong { (verdict) } ": " (meaning) ". " } }
            @let missing = missing(record);
            @if !missing.is_empty() { p.missing { strong { "Missing: " } (missing.join(" ")) } }
            (goes_of(record))
        }
    }
}
