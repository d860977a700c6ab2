//! What a program can read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use comparisons::environment::Environment;
use comparisons::measure::Interval;
use serde::Serialize;

use super::tails::{COUNTS, PERCENTILES, Tail};
use super::{Judged, Measured, Report};
use crate::bars::{Bound, Verdict};
use crate::figures::Figures;

#[derive(Serialize)]
struct Summary<'a> {
    /// On what the bars were measured, one for each time that it was worked on.
    environments: &'a [Environment],
    topics: Vec<Topic<'a>>,
    criterion: &'a Figures,
}

#[derive(Serialize)]
struct Topic<'a> {
    name: &'a str,
    rounds: usize,
    prepared: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a str>,
    bars: Vec<Bar<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tails: Vec<Percentiles<'a>>,
}

#[derive(Serialize)]
struct Bar<'a> {
    what: Cow<'a, str>,
    figure: &'a str,
    ours: &'a str,
    theirs: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    rounds: usize,
    ratio: Option<Between>,
    control: Option<Between>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct Between {
    ratio: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Percentiles<'a> {
    arm: &'a str,
    blocks: usize,
    #[serde(flatten)]
    micros: BTreeMap<&'static str, f64>,
    #[serde(flatten)]
    counts: BTreeMap<&'static str, f64>,
}

/// The bars, the tails, criterion's figures, and on what they were measured, as JSON.
///
/// # Errors
/// None that records can bring about: they hold nothing that JSON cannot.
pub fn summary(report: &Report) -> serde_json::Result<String> {
    let topics = report.topics.iter().map(topic).collect();
    let summary = Summary { environments: &report.environments, topics, criterion: &report.figures };
    Ok(serde_json::to_string_pretty(&summary)? + "\n")
}

fn topic(topic: &Measured) -> Topic<'_> {
    Topic {
        name: &topic.name,
        rounds: topic.rounds,
        prepared: topic.steps,
        trouble: topic.trouble.as_deref(),
        bars: topic.bars.iter().map(bar).collect(),
        tails: topic.tails.iter().map(percentiles).collect(),
    }
}

fn bar(Judged { bar, judgement }: &Judged) -> Bar<'_> {
    let between = |interval: Option<Interval>| {
        interval.map(|Interval { ratio, low, high }| Between { ratio, low, high })
    };
    let (at_most, at_least) = match bar.bound {
        Bound::AtMost(most) => (Some(most), None),
        Bound::AtLeast(least) => (None, Some(least)),
        Bound::Told => (None, None),
    };
    Bar {
        what: bar.name(),
        figure: bar.figure,
        ours: bar.ours,
        theirs: bar.theirs,
        at_most,
        at_least,
        rounds: judgement.rounds,
        ratio: between(judgement.ratio),
        control: between(judgement.control),
        verdict: judgement.verdict,
    }
}

fn percentiles(tail: &Tail) -> Percentiles<'_> {
    let named = PERCENTILES.iter().zip(tail.micros);
    let micros = named.filter_map(|((name, _), value)| Some((*name, value?))).collect();
    let counted = COUNTS.iter().zip(tail.counts);
    let counts = counted.filter_map(|((name, _), value)| Some((*name, value?))).collect();
    Percentiles { arm: &tail.arm, blocks: tail.blocks, micros, counts }
}
