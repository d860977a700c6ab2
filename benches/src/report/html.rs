//! The page: it needs no network and no script.

use comparisons::report::format::{self, NOTHING};
use comparisons::report::{STYLE as SHARED, page, prose};
use maud::{Markup, PreEscaped, html as markup};

use super::pictures::{self, Drawn, growth, ratios};
use super::profiles::{explained, functions, head, owners};
use super::tails::{COUNTS, PERCENTILES, Tail, counts};
use super::{Judged, Measured, PROFILES, Report, extent, interval};
use crate::bars::{Bar, Verdict};
use crate::figures::{Estimate, Figure};
use crate::profiles::Profile;

const STYLE: &str = include_str!("style.css");
const TITLE: &str = "What does the registry cost?";

const INTRODUCTION: &str = "`service-registry` puts one trait before etcd, Redis and a registry in memory, and builds views, balancing and gRPC channels on it. \
                            What of that would a user notice? Each bar is a promise: the ratio of our way to the raw client, or to what others use, doing the \
                            same work in the same run, and the bound within which it is to stay.";

const METHOD: [&str; 4] = [
    "Absolute figures of a shared machine mean little, so arms that do the same work take turns: in each round every arm has a block, mostly of some ten to some \
     hundred milliseconds, of some seconds where things are due at times of their own, in an order that is drawn by lot for each, so that no arm has a place or a predecessor of its own. One round before does not count. Some \
     rounds later all is started anew: servers, and the process of those who call them, in which arms are made, and connect, in an order that is drawn, too. A store and who calls it have cores of their own.",
    "A round gives one ratio, and each start the median of its rounds. Shown is the mean of these medians with its 95 % interval by Student's t (both of logarithms): what differs \
     from one start to the next does not from round to round, so only starts count as independent of each other.",
    "The control is the same ratio of two arms that are alike, with connections of their own. Where its interval does not hold 1, something \
     else made a difference; then a bar is met or missed only if it would be with the ratio smaller and larger by as much as the control may be off, and undecided otherwise.",
    "All rounds of a run count. Where changes are sent at fixed times, a block is disturbed if the machine was busy or sends slipped; whoever is measured may be \
     the cause of either, so such blocks count too, and how many there were of each arm is told beside its percentiles. What is measured \
     again takes the place of what was there, and what that had said is told below.",
];

const TAILS: &str = "Medians over blocks of the percentiles of each block; the longest of all blocks. Disturbed are blocks in which sends slipped by more than 200 µs at \
                     the 99th percentile, or the machine was more than 70 % busy, or that is not known: they count like the others. The curves are of all \
                     blocks together: of each arm the median over starts. What was not answered took longer than all that was.";

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let main = markup! {
        header {
            h1 { (TITLE) }
            p.soft { (prose(INTRODUCTION)) }
            div.answer {
                @if report.is_empty() { p { "Nothing has been measured yet." } }
                p { (report.counts()) }
            }
        }
        (missing(report))
        (bars(report))
        (pictures("ratios", "The ratios", &ratios(report)))
        (method(report))
        (tails(report))
        (profiles(report))
        (pictures("growth", "How it grows", &growth(report)))
        (figures(report))
    };
    page(TITLE, &[SHARED, STYLE], &main)
}

fn missing(report: &Report) -> Markup {
    let missing = report.missing();
    markup! {
        @if !missing.is_empty() {
            div.missing {
                p { strong { "Missing, or not as it should be:" } }
                ul { @for sentence in &missing { li { (prose(sentence)) } } }
            }
        }
    }
}

/// The roles are said because a table that is laid out as cards is no table to a screen reader otherwise.
fn bars(report: &Report) -> Markup {
    let head = ["What / beside what", "Verdict", "Ratio (95 % interval)", "Bound", "Control"];
    markup! {
        table.verdicts role="table" aria-label="The bars and their verdicts" {
            thead role="rowgroup" {
                tr role="row" { @for title in head { th scope="col" role="columnheader" { (title) } } }
            }
            tbody role="rowgroup" {
                @for topic in &report.topics { @for judged in &topic.bars { (row_of(topic, judged)) } }
            }
        }
        dl.facts.meanings {
            @for verdict in Verdict::ALL { div { dt { (verdict.word()) } dd { (verdict.meaning()) } } }
        }
        @for topic in &report.topics {
            @if let Some(then) = &topic.rule_then {
                p.missing { strong { (topic.name) " was measured for other bars: " } (then) }
            }
        }
    }
}

fn row_of(topic: &Measured, Judged { bar, judgement }: &Judged) -> Markup {
    let (what, Bar { figure, bound, .. }) = (bar.name(), bar);
    markup! {
        tr role="row" {
            th scope="row" role="rowheader" {
                (prose(&what))
                span.wording { (topic.name) ", " code { (figure) } @if judgement.rounds > 0 { ", " (extent(topic, judgement.rounds)) } }
            }
            td role="cell" { (chip(judgement.verdict)) }
            td role="cell" data-label="Ratio (95 % interval)" { strong { (interval(judgement.ratio)) } }
            td role="cell" data-label="Bound" { (bound) }
            td role="cell" data-label="Control" { (interval(judgement.control)) }
        }
    }
}

/// A verdict: its word, a sign and a colour.
fn chip(verdict: Verdict) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Met => ("met", "✔"),
        Verdict::NotShown => ("not-shown", "◐"),
        Verdict::Missed => ("missed", "✘"),
        Verdict::Undecided => ("undecided", "?"),
        Verdict::NotMeasured => ("not-measured", "–"),
        Verdict::Told => ("told", "·"),
    };
    markup! { span class={ "chip " (class) } { span aria-hidden="true" { (sign) } " " (verdict.word()) } }
}

fn pictures(id: &str, title: &str, drawn: &[Drawn]) -> Markup {
    markup! {
        @if !drawn.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                div.pictures { @for one in drawn { figure { (PreEscaped(one.svg())) } } }
            }
        }
    }
}

fn method(report: &Report) -> Markup {
    let of_criterion = report.figures.environment.as_ref();
    markup! {
        section aria-labelledby="method" {
            h2 #method { "How it was measured" }
            @for paragraph in METHOD { p { (prose(paragraph)) } }
            h3 { "On what" }
            @if report.made_on.is_empty() { p { "It was not recorded." } }
            dl.facts {
                @for (name, value) in &report.made_on { div { dt { (name) } dd { (value) } } }
                @if let Some(one) = of_criterion {
                    div { dt { "criterion's figures" } dd { (one.date) ", commit " (one.commit) ", " (one.scale) ", " (one.processor) ", load " (format!("{:.2}", one.load)) } }
                }
            }
        }
    }
}

fn tails(report: &Report) -> Markup {
    let topics = || report.topics.iter().filter(|topic| !topic.tails.is_empty());
    markup! {
        @if topics().next().is_some() {
            section aria-labelledby="tails" {
                h2 #tails { "How long the slowest took" }
                p.soft { (TAILS) }
                div.pictures { @for one in pictures::tails(report) { figure { (PreEscaped(one.svg())) } } }
                @for topic in topics() {
                    h3 { (topic.name) }
                    @let counts = counts(&topic.tails);
                    (table(&format!("Percentiles of {}", topic.name), &head_of_tails(&counts), topic.tails.iter().map(|tail| row_of_tail(tail, &counts))))
                }
            }
        }
    }
}

fn head_of_tails(counts: &[usize]) -> Vec<&'static str> {
    let counts = counts.iter().filter_map(|index| COUNTS.get(*index)).map(|(_, title)| *title);
    std::iter::once("Arm")
        .chain(PERCENTILES.map(|(_, title)| title))
        .chain(["blocks"])
        .chain(counts)
        .collect()
}

fn row_of_tail(tail: &Tail, counts: &[usize]) -> Vec<String> {
    let micros = tail.micros.map(|value| value.map_or(NOTHING.to_owned(), format::micros));
    let counts = counts.iter().filter_map(|index| tail.counts.get(*index));
    let counts = counts.map(|count| count.map_or(NOTHING.to_owned(), format::count));
    let blocks = format::count(tail.blocks as f64);
    std::iter::once(tail.arm.clone()).chain(micros).chain([blocks]).chain(counts).collect()
}

fn profiles(report: &Report) -> Markup {
    let table_of = |first: &str, topic: &str, profile: &Profile, rows: Vec<Vec<String>>| {
        let head = head(first, profile);
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        table(&format!("{topic}, by {first}"), &head, rows.into_iter())
    };
    markup! {
        @if !report.profiles.0.is_empty() {
            section aria-labelledby="profiles" {
                h2 #profiles { "Where the time goes" }
                p.soft { (prose(PROFILES)) }
                @let known = |name: &String| report.topics.iter().find(|topic| topic.name == *name);
                @for (topic, profile) in &report.profiles.0 {
                    details {
                        summary { (topic) ", commit " (profile.environment.commit) }
                        @for sentence in known(topic).map(|topic| explained(topic, profile)).unwrap_or_default() {
                            p { (prose(&sentence)) }
                        }
                        (table_of("whose code", topic, profile, owners(profile)))
                        (table_of("function", topic, profile, functions(profile)))
                    }
                }
            }
        }
    }
}

fn figures(report: &Report) -> Markup {
    let figures = &report.figures.figures;
    let groups = || figures.chunk_by(|one, next| one.group == next.group);
    let head = ["What", "median", "95 % interval", "mean"];
    markup! {
        @if !figures.is_empty() {
            section aria-labelledby="figures" {
                h2 #figures { "How long single things take" }
                p.soft { "By criterion, on this machine and at that time: how long things take, and how that grows with their size. These were measured one after the other, with servers started once, so what they come to beside each other says less than the ratios above." }
                @for group in groups() {
                    @if let Some(first) = group.first() {
                        details {
                            summary { (first.group) }
                            (table(&first.group, &head, group.iter().map(row_of_figure)))
                        }
                    }
                }
            }
        }
    }
}

fn row_of_figure(figure: &Figure) -> Vec<String> {
    let named = [&figure.function, &figure.parameter].into_iter().flatten().cloned().collect::<Vec<_>>();
    let name = if named.is_empty() { figure.group.clone() } else { named.join(", ") };
    let Estimate { value, low, high, level } = figure.median_ns;
    let level = if level == 0.95 { String::new() } else { format!(" ({} %)", level * 100.0) };
    vec![name, nanos(value), format!("{} to {}{level}", nanos(low), nanos(high)), nanos(figure.mean_ns.value)]
}

/// `12.3 ns`, from 1,000 on as microseconds are written.
fn nanos(value: f64) -> String {
    if value.abs() >= 999.5 || !value.is_finite() {
        return format::micros(value / 1e3);
    }
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} ns")
}

fn table(label: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Markup {
    markup! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table role="table" aria-label=(label) {
                thead role="rowgroup" {
                    tr role="row" { @for title in head { th scope="col" role="columnheader" { (title) } } }
                }
                tbody role="rowgroup" {
                    @for row in rows {
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
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn nanoseconds_become_microseconds_where_they_are_a_thousand() {
        assert_eq!(
            [0.0, 1.234, 12.34, 123.4, 999.4].map(nanos),
            ["0.00 ns", "1.23 ns", "12.3 ns", "123 ns", "999 ns"]
        );
        assert_eq!([999.6, 1_234.0, 5e6].map(nanos), ["1 µs", "1.23 µs", "5 ms"]);
    }
}
