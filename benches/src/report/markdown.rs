//! The same in Markdown, for the documents of this project.

use std::fmt::Write as _;

use comparisons::report::{escaped, row};

use super::pictures::{Drawn, growth, pictures, ratios, title_of_growth};
use super::profiles::{explained, head, owners};
use super::{Judged, Measured, PROFILES, Report, interval};
use crate::bars::{Bound, Verdict};

const NOTHING_YET: &str = "Nothing has been published yet: `make bench` measures, and `benches publish target/bench` puts here what it found.";

/// The groups of criterion whose growth the README of the project shows: what every change costs, and what every call does.
const SHOWN: [&str; 2] = ["fold one change", "pick"];

const HEAD: [&str; 5] = ["What / beside what", "Bound", "Ratio (95 % interval)", "Control", "Verdict"];

/// What the README of the project shows: how many bars are met, of each topic the bar that is closest to its bound or furthest beyond it, the first two
/// pictures of ratios, and how folding and picking grow.
#[must_use]
pub fn readme_section(report: &Report) -> String {
    if report.is_empty() {
        return NOTHING_YET.to_owned();
    }
    let mut text = format!(
        "{} Of each topic this is the bar that is closest to its bound, or furthest beyond:\n\n",
        report.counts()
    );
    table(&mut text, report.topics.iter().filter_map(worst));
    made_on(&mut text, report);
    let grown = growth(report);
    let of_group = |group: &str| grown.iter().find(|drawn| drawn.picture.title == title_of_growth(group));
    for drawn in ratios(report).iter().take(2).chain(SHOWN.iter().copied().filter_map(of_group)) {
        image(&mut text, drawn, "benches/results");
    }
    text
}

/// What the README of the benchmarks shows: every bar, and every picture.
#[must_use]
pub fn benches_section(report: &Report) -> String {
    if report.is_empty() {
        return NOTHING_YET.to_owned();
    }
    let mut text = format!("{}\n\n", report.counts());
    table(&mut text, report.judged());
    text.push('\n');
    for verdict in Verdict::ALL {
        let _ = writeln!(text, "- {}: {}", verdict.word(), verdict.meaning());
    }
    made_on(&mut text, report);
    let missing = report.missing();
    if !missing.is_empty() {
        let _ = write!(text, "\nMissing, or not as it should be: {}\n", escaped(&missing.join(" ")));
    }
    for drawn in pictures(report) {
        image(&mut text, &drawn, "results");
    }
    profiles(&mut text, report);
    if !growth(report).is_empty() {
        text.push_str("\nAll figures are in [the page](results/report.html), which needs no network.\n");
    }
    text
}

/// Where the time goes, by whose code was running; functions are on the page.
fn profiles(text: &mut String, report: &Report) {
    if report.profiles.0.is_empty() {
        return;
    }
    let _ = write!(text, "\n### Where the time goes\n\n{}\n", PROFILES);
    for (topic, profile) in &report.profiles.0 {
        let commit = &profile.environment.commit;
        let _ = write!(text, "\n<details><summary>{}, commit {commit}</summary>\n\n", escaped(topic));
        let known = report.topics.iter().find(|known| known.name == *topic);
        for sentence in known.map(|topic| explained(topic, profile)).unwrap_or_default() {
            let _ = write!(text, "{}\n\n", escaped(&sentence));
        }
        let head = head("whose code", profile);
        row(text, head.iter().map(String::as_str));
        row(text, head.iter().map(|_| "---"));
        for cells in owners(profile) {
            row(text, cells.iter().map(String::as_str));
        }
        text.push_str("\n</details>\n");
    }
}

/// The bar of a topic that says the least good of it; one without a bound only where there is no other.
fn worst(topic: &Measured) -> Option<&Judged> {
    // A share of the bound; above 1 it is beyond.
    let used = |judged: &Judged| match (judged.bar.bound, judged.judgement.ratio) {
        (Bound::AtMost(most), Some(ratio)) => ratio.high / most,
        (Bound::AtLeast(least), Some(ratio)) => least / ratio.low,
        _ => 0.0,
    };
    let grade = |judged: &Judged| match judged.judgement.verdict {
        Verdict::Told => 0,
        Verdict::Met => 1,
        Verdict::NotShown => 2,
        Verdict::Undecided => 3,
        Verdict::Missed => 4,
        Verdict::NotMeasured => 5,
    };
    let order = |one: &&Judged, other: &&Judged| {
        grade(one).cmp(&grade(other)).then(used(one).total_cmp(&used(other)))
    };
    // Of equals the first.
    topic.bars.iter().rev().max_by(order)
}

fn table<'a>(text: &mut String, judged: impl Iterator<Item = &'a Judged>) {
    row(text, HEAD);
    row(text, ["---"; 5]);
    for Judged { bar, judgement } in judged {
        let word = format!("**{}**", judgement.verdict.word());
        let cells = [
            &*bar.name(),
            &bar.bound.to_string(),
            &interval(judgement.ratio),
            &interval(judgement.control),
            &word,
        ];
        row(text, cells);
    }
}

fn made_on(text: &mut String, report: &Report) {
    if !report.made_on_in_short.is_empty() {
        let _ = write!(text, "\n{}\n", escaped(&report.made_on_in_short));
    }
}

fn image(text: &mut String, drawn: &Drawn, folder: &str) {
    let title = escaped(&drawn.picture.title).replace('[', "\\[").replace(']', "\\]");
    let _ = write!(text, "\n![{title}]({folder}/{})\n", drawn.file);
}
