//! What people look at: made of records and criterion's figures alone.
//!
//! * [`html`]: one page that needs nothing else, the bars first.
//! * [`summary`]: the same for programs, as JSON.
//! * [`readme_section`] and [`benches_section`]: the same in Markdown, short and in full.
//! * [`pictures`]: the pictures that they show.
//!
//! The same records give the same bytes.

mod html;
mod markdown;
mod pictures;
mod profiles;
mod summary;
mod tails;

use std::collections::BTreeSet;
use std::path::PathBuf;

use comparisons::environment::{Environment, in_a_sentence, rows};
use comparisons::lab::{Lab, Scale};
use comparisons::measure::Interval;
use comparisons::picture::Picture;
use comparisons::record::{Outcome, Records};
use comparisons::report::format;
use comparisons::results::Results;

use crate::bars::{Bar, Judgement, Verdict, rule};
use crate::figures::Figures;
use crate::profiles::Profiles;
use crate::topics;

pub use html::html;
pub use markdown::{benches_section, readme_section};
pub use pictures::{Drawn, pictures};
pub use summary::summary;

use tails::{Tail, curves, tails};

/// How profiles are to be read.
const PROFILES: &str = "Samples of the processor time of the process that measures, while one arm after the other plays alone (`benches profile`, by `perf`): what waits for \
                        a server is not seen, nor the servers of stores; those of gRPC run in the same process, and count. What is inlined counts for where that was done. \
                        Shares are of all samples of an arm; what is less than half a percent of each is left out. \
                        How many samples there are says nothing of what arms cost beside each other: each plays for the same time, and who wakes for a moment and sleeps again is caught less often. Of memory they show nothing.";

/// What a page is made of.
#[derive(Debug)]
pub struct Report {
    topics: Vec<Measured>,
    figures: Figures,
    profiles: Profiles,
    environments: Vec<Environment>,
    /// What the records were made on: names and values.
    made_on: Vec<(String, String)>,
    /// The same in one sentence; empty if it is not known.
    made_on_in_short: String,
    /// Topics of which there are records, and that are not known any more.
    unknown: BTreeSet<String>,
}

/// A topic, and what its records say.
#[derive(Debug)]
struct Measured {
    name: String,
    bars: Vec<Judged>,
    rounds: usize,
    /// How many times servers were started anew.
    steps: usize,
    /// The commits of the programs that measured it.
    commits: BTreeSet<String>,
    /// Why it was not measured, if somebody tried.
    trouble: Option<String>,
    /// The bars as they were when it was measured, if that was otherwise.
    rule_then: Option<String>,
    tails: Vec<Tail>,
    /// The tails of its arms, to be seen.
    curves: Option<Picture>,
}

/// A bar, and what the records say of it.
#[derive(Debug)]
struct Judged {
    bar: Bar,
    judgement: Judgement,
}

impl Report {
    /// Of these topics with their bars, in that order.
    #[must_use]
    pub fn new(topics: &[(&str, &[Bar])], results: &Results, figures: Figures) -> Self {
        let is_known = |name: &str| topics.iter().any(|(known, _)| *known == name);
        let there = results.done.iter().map(|done| done.experiment.clone());
        Self {
            topics: topics.iter().map(|(name, bars)| measured(name, bars, results)).collect(),
            figures,
            profiles: Profiles::default(),
            environments: results.environments.clone(),
            made_on: rows(results),
            made_on_in_short: in_a_sentence(results),
            unknown: there.filter(|name| !is_known(name)).collect(),
        }
    }

    /// With where the time goes.
    #[must_use]
    pub fn with_profiles(self, profiles: Profiles) -> Self {
        Self { profiles, ..self }
    }

    fn judged(&self) -> impl Iterator<Item = &Judged> {
        self.topics.iter().flat_map(|topic| &topic.bars)
    }

    /// How many bars have which verdict: `Of 31 bars 29 are met, 1 is not shown, 1 is not measured; 4 figures without a bound are told.`
    #[must_use]
    pub fn counts(&self) -> String {
        let number = |verdict| self.judged().filter(|judged| judged.judgement.verdict == verdict).count();
        let told = number(Verdict::Told);
        let bars = self.judged().count() - told;
        let counted = Verdict::ALL.into_iter().filter(|verdict| *verdict != Verdict::Told);
        let counted =
            counted.map(|verdict| (number(verdict), verdict.word())).filter(|(number, _)| *number > 0);
        let counted = counted
            .map(|(number, word)| format!("{number} {} {word}", if number == 1 { "is" } else { "are" }));
        let counted = counted.collect::<Vec<_>>().join(", ");
        let mut text = match bars {
            0 => "There is no bar.".to_owned(),
            1 => format!("Of 1 bar {counted}."),
            bars => format!("Of {bars} bars {counted}."),
        };
        if told > 0 {
            text.pop();
            text += &format!(
                "; {told} {} without a bound {} told.",
                plural(told, "figure"),
                if told == 1 { "is" } else { "are" }
            );
        }
        text
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.figures.is_empty()
            && self.topics.iter().all(|topic| topic.rounds == 0 && topic.trouble.is_none())
    }

    /// What a reader should know is missing or not as it should be, a sentence each.
    fn missing(&self) -> Vec<String> {
        let of = |what: fn(&Environment) -> bool| self.environments.iter().any(what);
        let mut missing = Vec::new();
        if of(|one| one.build != "optimized") {
            missing.push("The build was not optimized: the figures mean little.".to_owned());
        }
        if of(|one| one.scale != "full") {
            missing.push("This is a quick run, with few rounds: to see it, not to cite it.".to_owned());
        }
        for topic in &self.topics {
            if let Some(trouble) = &topic.trouble {
                missing.push(format!("{}: {trouble}.", topic.name));
            }
        }
        // What is only to be seen need not be explained.
        if !of(|one| one.scale != "full") {
            missing.extend(profiles::unexplained(&self.topics, &self.profiles));
        }
        let never: Vec<&str> =
            self.topics.iter().filter(|one| one.steps == 0).map(|topic| topic.name.as_str()).collect();
        if !never.is_empty() {
            missing.push(format!("Not measured yet: {}.", never.join(", ")));
        }
        missing.extend(self.parts());
        missing.extend(self.figures.lacks());
        if self.figures.figures.is_empty() && !self.is_empty() {
            missing.push("Criterion's benchmarks have not been run.".to_owned());
        }
        if !self.unknown.is_empty() {
            let unknown: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            missing.push(format!(
                "Not shown, since these topics are not known any more: {}.",
                unknown.join(", ")
            ));
        }
        missing
    }
}

impl Report {
    /// Topics that were started less often than they are to be, a sentence each.
    fn parts(&self) -> impl Iterator<Item = String> {
        let scale = self.environments.iter().all(|one| one.scale == "full");
        let scale = if scale { Scale::Full } else { Scale::Quick };
        let none = PathBuf::new;
        let lab = Lab::new(scale, 0, none(), none(), none());
        let known = topics::all();
        let wanted =
            move |name: &str| known.iter().find(|topic| topic.name() == name).map(|one| one.steps(&lab));
        self.topics.iter().filter_map(move |Measured { name, steps, .. }| {
            let wanted = wanted(name).filter(|wanted| *steps > 0 && *steps < *wanted as usize)?;
            Some(format!("{name} was started {} of {wanted} times: what is said of it is of a part.", steps))
        })
    }
}

fn measured(name: &str, bars: &[Bar], results: &Results) -> Measured {
    let records = results.of(name);
    let trouble = records.all().find_map(|record| match &record.outcome {
        Outcome::NotRun { why } => Some(format!("not run: {why}")),
        Outcome::Failed { why } => Some(format!("broke off: {why}")),
        Outcome::Valid { .. } | Outcome::Invalid { .. } => None,
    });
    // Of what broke off, some rounds may be there; nothing is said of a part.
    let counted = if trouble.is_none() { records } else { Records::default() };
    let rounds: BTreeSet<_> =
        counted.all().filter(|one| one.is_valid()).map(|one| (one.step.clone(), one.run)).collect();
    let judged = bars.iter().map(|bar| Judged { bar: *bar, judgement: bar.judge(&counted) });
    let then = results.rules().remove(name).filter(|then| *then != rule(bars));
    Measured {
        name: name.to_owned(),
        bars: judged.collect(),
        rounds: rounds.len(),
        steps: results.done.iter().filter(|done| done.experiment == name).count(),
        commits: commits(results, name),
        trouble,
        rule_then: then,
        tails: tails(bars, &counted),
        curves: curves(name, bars, &counted),
    }
}

/// Of the programs by which the records of a topic were made.
pub(crate) fn commits(results: &Results, topic: &str) -> BTreeSet<String> {
    let of_topic = results.done.iter().filter(|done| done.experiment == topic);
    of_topic.filter_map(|done| Some(results.environments.get(done.go?)?.commit.clone())).collect()
}

/// A line for each bar, for a terminal.
#[must_use]
pub fn lines(report: &Report) -> Vec<String> {
    let line = |topic: &Measured, judged: &Judged| {
        let Judged { bar, judgement } = judged;
        let word = judgement.verdict.word();
        let (ratio, control) = (interval(judgement.ratio), interval(judgement.control));
        format!("{}: {word}: {}: {ratio}, {}; control {control}", topic.name, bar.name(), bar.bound)
    };
    report.topics.iter().flat_map(|topic| topic.bars.iter().map(move |judged| line(topic, judged))).collect()
}

/// `1.023 (1.010 to 1.041)`.
fn interval(interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { ratio: middle, low, high }) => {
            format!("{} ({} to {})", ratio(middle), ratio(low), ratio(high))
        }
        None => format::NOTHING.to_owned(),
    }
}

/// Three digits after the point where a hundredth matters.
fn ratio(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { format::ratio(value) }
}

fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `30 rounds, prepared 3 times`: those by which a bar was judged.
fn extent(topic: &Measured, rounds: usize) -> String {
    let starts = format::times(topic.steps as f64);
    format!("{rounds} {}, prepared {starts}", plural(rounds, "round"))
}

#[cfg(test)]
mod tests;
