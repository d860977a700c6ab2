//! The report as one page that needs nothing else: no network, no script.

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use super::overview::{Claimed, Judged, VERDICTS, against_etcd, answer, caveats, claims, missing, sentence};
use super::table::{proofs, table, uncounted};
use super::{Report, chaos, draw};
use crate::finding::Verdict;

/// How pages look: one for light and dark, narrow and wide screens, and for print.
pub const STYLE: &str = include_str!("style.css");
const QUESTION: &str = "Why not use Redis as a service registry?";

const INTRODUCTION: &str = "A service registry is the list of the servers that are alive: servers keep their entry by heartbeats, clients watch \
                            the list and are told of changes. It is often kept in etcd, and five reasons are given for not keeping it in \
                            Redis. Each was tested here on real servers, with two kinds of registries on Redis: `naive` is how people \
                            usually write one, and ours is `registry-redis`, the Redis backend of this project.";

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let claims = claims(report);
    let styles = [STYLE, if report.chaos.is_some() { chaos::STYLE } else { "" }];
    page(
        QUESTION,
        &styles,
        &markup! {
            header {
                h1 { (QUESTION) }
                p.soft { (prose(INTRODUCTION)) }
                div.answer { @for sentence in answer(&claims) { p { (prose(&sentence)) } } }
            }
            (first_screen(report, &claims))
            (words())
            @for claim in &claims { (section_of(claim)) }
            @if let Some(record) = &report.chaos { (chaos::summary(record)) }
            (environment(report))
        },
    )
}

/// A page that needs no network and no script: all reports are made of it.
#[must_use]
pub fn page(title: &str, styles: &[&str], main: &Markup) -> String {
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { @for style in styles { (PreEscaped(style)) } }
            }
            body { main { (main) } }
        }
    };
    page.into_string()
}

fn first_screen(report: &Report, claims: &[Claimed<'_>]) -> Markup {
    let missing = missing(report, claims);
    markup! {
        (verdicts(claims))
        p.soft { @for (word, meaning) in VERDICTS { strong { (word) } ": " (meaning) " " } }
        @if !missing.is_empty() {
            p.missing { strong { "Missing: " } (prose(&missing.join(" "))) }
        }
        div.sides {
            section aria-labelledby="against" {
                h2 #against { "What speaks against etcd" }
                (notes(against_etcd(claims).iter().map(|(id, text)| (*id, text.as_str()))))
            }
            section aria-labelledby="fair" {
                h2 #fair { "What a fair-minded maintainer would add" }
                (notes(caveats(claims).into_iter()))
            }
        }
    }
}

fn notes<'a>(notes: impl Iterator<Item = (&'a str, &'a str)>) -> Markup {
    let notes: Vec<_> = notes.collect();
    markup! {
        @if notes.is_empty() {
            p { "Nothing in these records." }
        } @else {
            ul {
                @for (id, text) in notes {
                    li { (prose(text)) " " a href={ "#" (id) } aria-label={ "Experiment " (id) } { (id) } }
                }
            }
        }
    }
}

/// The roles are said, here and in the other tables, because a table that is laid out as cards is no table to a screen reader otherwise.
fn verdicts(claims: &[Claimed<'_>]) -> Markup {
    markup! {
        table.verdicts role="table" aria-label="The five claims and their verdicts" {
            thead role="rowgroup" {
                tr role="row" {
                    @for title in ["Claim", "Verdict", "The figure that decides", "What our Redis backend does about it"] {
                        th scope="col" role="columnheader" { (title) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for claim in claims {
                    tr role="row" {
                        th scope="row" role="rowheader" {
                            a href={ "#claim-" (claim.claim.number()) } { (claim.claim.number()) ". " (claim.claim.title()) }
                            span.wording { (claim.claim.wording()) }
                        }
                        td role="cell" { (chip(claim.verdict, &claim.word())) }
                        td role="cell" data-label="The figure that decides" { (figures(claim)) }
                        td role="cell" data-label="What our Redis backend does about it" { (prose(claim.remedy())) }
                    }
                }
            }
        }
    }
}

fn figures(claim: &Claimed<'_>) -> Markup {
    let deciding = claim.deciding();
    markup! {
        @if deciding.is_empty() {
            "none: nothing was decided"
        } @else if let [only] = deciding[..] {
            (prose(&only.finding.figure)) " " (link(only))
        } @else {
            ul.figures {
                @for one in deciding {
                    li { strong { (one.word()) ": " } (prose(&one.finding.figure)) " " (link(one)) }
                }
            }
        }
    }
}

fn link(judged: &Judged<'_>) -> Markup {
    let id = judged.about().id;
    markup! { a href={ "#" (id) } aria-label={ "Experiment " (id) } { (id) } }
}

/// A verdict: its word, a sign and a colour.
fn chip(verdict: Verdict, word: &str) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Confirmed => ("confirmed", "✔"),
        Verdict::Depends => ("depends", "◐"),
        Verdict::Refuted => ("refuted", "✘"),
        Verdict::Undecided => ("undecided", "?"),
    };
    markup! { span class={ "chip " (class) } { span aria-hidden="true" { (sign) } " " (word) } }
}

fn words() -> Markup {
    let words = [
        (
            "Naive",
            "The registry on Redis that people usually write: a hash, or a key for each instance with `EXPIRE`, and `PUBLISH` or keyspace \
             events to tell of changes. Named `redis-naive` below.",
        ),
        (
            "Ours",
            "`registry-redis`, the Redis backend of this project: every change has a number and stands in a log, so that a watcher can tell \
             what it missed. Named `redis` below.",
        ),
        (
            "Arm",
            "One of those that are compared in an experiment; what follows a comma says how it was set up.",
        ),
    ];
    markup! {
        section aria-labelledby="words" {
            h2 #words { "Who is compared" }
            dl.words {
                @for (word, meaning) in words { div { dt { (word) } dd { (prose(meaning)) } } }
            }
        }
    }
}

fn section_of(claim: &Claimed<'_>) -> Markup {
    let number = claim.claim.number();
    markup! {
        section.claim aria-labelledby={ "claim-" (number) } {
            h2 id={ "claim-" (number) } { (number) ". " (claim.claim.title()) " " (chip(claim.verdict, &claim.word())) }
            p.claimed { "The claim: " (claim.claim.wording()) }
            @if claim.experiments.is_empty() { p { "Not run: there is no experiment on it." } }
            @for experiment in &claim.experiments { (article_of(experiment)) }
        }
    }
}

fn article_of(judged: &Judged<'_>) -> Markup {
    let about = judged.about();
    let before = [
        ("Hypothesis", about.hypothesis),
        ("Set-up", about.set_up),
        ("Left out", about.left_out),
        ("What decides", about.rule),
        ("What decided when it was run, in other words", judged.rule_then.as_deref().unwrap_or_default()),
    ];
    let after = [
        ("What would have shown the opposite", about.falsifier),
        ("What our Redis backend does about it", about.remedy),
        ("In fairness", about.caveat),
    ];
    markup! {
        article aria-labelledby=(about.id) {
            h3 id=(about.id) { (about.id) ". " (about.title) " " (chip(judged.finding.verdict, judged.word())) }
            p.question { (prose(about.question)) }
            (facts(&before))
            @if let Some(why) = &judged.not_run {
                p.missing { strong { "No result. " } (prose(&sentence(why))) }
            } @else {
                @if judged.finding.verdict != Verdict::Undecided {
                    p.finding { strong { (prose(&judged.finding.figure)) } }
                }
                p.finding { (prose(&judged.finding.sentences.join(" "))) }
            }
            @if !judged.pictures.is_empty() {
                div.pictures {
                    @for picture in &judged.pictures { figure { (PreEscaped(draw::svg(picture))) } }
                }
            }
            (runs_of(judged))
            (facts(&after))
        }
    }
}

pub(super) fn facts(facts: &[(&str, &str)]) -> Markup {
    markup! {
        dl.facts {
            @for (name, text) in facts {
                @if !text.is_empty() { div { dt { (name) } dd { (prose(text)) } } }
            }
        }
    }
}

fn runs_of(judged: &Judged<'_>) -> Markup {
    let table = table(judged);
    let (uncounted, proofs) = (uncounted(&judged.records), proofs(&judged.records));
    let label = format!("Figures of experiment {}", judged.about().id);
    markup! {
        @if !table.rows.is_empty() {
            div.scroll role="region" aria-label=(label) tabindex="0" {
                table role="table" aria-label=(label) {
                    thead role="rowgroup" {
                        tr role="row" { @for title in &table.head { th scope="col" role="columnheader" { (title) } } }
                    }
                    tbody role="rowgroup" { @for row in &table.rows { (row_of(&table.head, row)) } }
                }
            }
        }
        @if !uncounted.is_empty() && judged.not_run.is_none() {
            p { strong { "Runs that do not count" } }
        }
        @if !uncounted.is_empty() {
            ul { @for line in &uncounted { li { (line) } } }
        }
        @if !proofs.is_empty() {
            details {
                summary { "By what the faults are known to have bitten" }
                ul { @for note in &proofs { li { (note.line()) } } }
            }
        }
    }
}

fn row_of(head: &[String], row: &[String]) -> Markup {
    markup! {
        tr role="row" {
            @for (index, (cell, title)) in row.iter().zip(head).enumerate() {
                @if index == 0 {
                    th scope="row" role="rowheader" { (cell) }
                } @else {
                    td role="cell" data-label=(title) { (cell) }
                }
            }
        }
    }
}

fn environment(report: &Report) -> Markup {
    markup! {
        section aria-labelledby="environment" {
            h2 #environment { "What this was run on" }
            @if report.environment.is_empty() {
                p { "It was not recorded." }
            } @else {
                dl.facts {
                    @for (name, value) in &report.environment { div { dt { (name) } dd { (value) } } }
                }
            }
        }
    }
}

/// A text in which what stands between backticks is code.
#[must_use]
pub fn prose(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    // An odd one out is no code.
    let paired = pieces.len() % 2 == 1;
    markup! {
        @if paired {
            @for (index, piece) in pieces.iter().enumerate() {
                @if index % 2 == 1 { code { (piece) } } @else { (piece) }
            }
        } @else {
            (text)
        }
    }
}
