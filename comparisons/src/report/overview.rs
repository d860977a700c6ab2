//! What the records say about the claims, as values: what pages and Markdown are made of.

use std::collections::BTreeSet;

use super::Report;
use super::format;
use crate::claims::Claim;
use crate::experiment::{About, Experiment};
use crate::finding::{Finding, Verdict, claim_verdict};
use crate::picture::Picture;
use crate::record::{Outcome, Record, Records};

/// An experiment with what its records say.
pub(super) struct Judged<'a> {
    pub(super) experiment: &'a dyn Experiment,
    pub(super) records: Records,
    pub(super) finding: Finding,
    pub(super) pictures: Vec<Picture>,
    /// Why it was not run, if it was not.
    pub(super) not_run: Option<String>,
    /// The rule as it was worded when it was run, if that was another wording.
    pub(super) rule_then: Option<String>,
}

impl<'a> Judged<'a> {
    fn new(report: &Report, experiment: &'a dyn Experiment) -> Self {
        let records = report.records_of(experiment.about().id);
        let not_run = why_not_run(&records);
        let rule_then = report.rules.get(experiment.about().id);
        let rule_then = rule_then.filter(|then| *then != experiment.about().rule).cloned();
        match &not_run {
            // No rule is asked what nothing says, so that none can answer.
            Some(why) => {
                let finding = Finding::undecided(why.clone());
                Self { experiment, records, finding, pictures: Vec::new(), not_run, rule_then }
            }
            None => {
                let (finding, pictures) = (experiment.judge(&records), experiment.pictures(&records));
                Self { experiment, records, finding, pictures, not_run, rule_then }
            }
        }
    }

    pub(super) fn about(&self) -> &'static About {
        self.experiment.about()
    }

    /// The word for its verdict.
    pub(super) fn word(&self) -> &'static str {
        if self.not_run.is_some() { "not run" } else { self.finding.verdict.word() }
    }

    /// Its pictures, with the names of their files.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, &Picture)> {
        let id = self.about().id;
        self.pictures
            .iter()
            .enumerate()
            .map(move |(index, picture)| (format!("{id}-{}.svg", index + 1), picture))
    }

    fn is_decided(&self) -> bool {
        self.finding.verdict != Verdict::Undecided
    }
}

/// Why an experiment has no run that counts.
fn why_not_run(records: &Records) -> Option<String> {
    if records.all().any(|record| record.is_valid()) {
        return None;
    }
    let why = records.all().next().map(|record| match &record.outcome {
        Outcome::Valid { .. } => String::new(),
        Outcome::NotRun { why } => format!("not run: {why}"),
        Outcome::Invalid { why } => format!("no run counts: {why}"),
        Outcome::Failed { why } => format!("it broke off: {why}"),
    });
    Some(why.unwrap_or_else(|| "not run: there are no records of it".to_owned()))
}

/// A claim with what its experiments say.
pub(super) struct Claimed<'a> {
    pub(super) claim: Claim,
    pub(super) verdict: Verdict,
    pub(super) experiments: Vec<Judged<'a>>,
}

impl<'a> Claimed<'a> {
    /// The experiments whose figures decide: the first of each verdict that was reached.
    pub(super) fn deciding(&self) -> Vec<&Judged<'a>> {
        let mut deciding: Vec<&Judged<'a>> = Vec::new();
        for experiment in self.experiments.iter().filter(|experiment| experiment.is_decided()) {
            if deciding.iter().all(|other| other.finding.verdict != experiment.finding.verdict) {
                deciding.push(experiment);
            }
        }
        deciding
    }

    /// The experiment to name if only one can be: one with the verdict of the claim, otherwise the first that decides, otherwise the first.
    pub(super) fn leading(&self) -> Option<&Judged<'a>> {
        let deciding = self.deciding();
        let same = deciding.iter().copied().find(|experiment| experiment.finding.verdict == self.verdict);
        same.or(deciding.first().copied()).or(self.experiments.first())
    }

    /// The word for its verdict, and which of its experiments have no part in it.
    pub(super) fn word(&self) -> String {
        let without = self.experiments.iter().filter(|experiment| !experiment.is_decided());
        let without: Vec<&str> = without.map(|experiment| experiment.about().id).collect();
        if self.experiments.iter().all(|experiment| experiment.not_run.is_some()) {
            "not run".to_owned()
        } else if without.is_empty() || self.verdict == Verdict::Undecided {
            self.verdict.word().to_owned()
        } else {
            format!("{}, without {}", self.verdict.word(), without.join(", "))
        }
    }

    /// What our backend does about it, in a sentence.
    pub(super) fn remedy(&self) -> &'static str {
        self.leading().map_or(super::format::NOTHING, |experiment| first_sentence(experiment.about().remedy))
    }
}

/// The five claims, each with its experiments.
pub(super) fn claims(report: &Report) -> Vec<Claimed<'_>> {
    let of = |claim: Claim| {
        let number = claim.number().to_string();
        let its = report.experiments.iter().filter(move |one| one.about().id.starts_with(&number));
        let experiments: Vec<Judged<'_>> = its.map(|one| Judged::new(report, one.as_ref())).collect();
        let verdict = claim_verdict(experiments.iter().map(|experiment| experiment.finding.verdict));
        Claimed { claim, verdict, experiments }
    };
    Claim::ALL.into_iter().map(of).collect()
}

/// The verdicts, for a terminal: of what was run, in the words of the report.
pub(super) fn summary(claims: &[Claimed<'_>]) -> String {
    let mut text = String::new();
    let mut silent = 0;
    for claim in claims {
        let (of_it, none): (Vec<_>, Vec<_>) =
            claim.experiments.iter().partition(|one| one.records.all().next().is_some());
        silent += none.len();
        if of_it.is_empty() {
            continue;
        }
        text += &format!("\nClaim {}, {}: {}\n", claim.claim.number(), claim.claim.title(), claim.word());
        for one in of_it {
            let about = one.about();
            text += &format!("  {} {}: {}: {}\n", about.id, about.title, one.word(), one.finding.figure);
        }
    }
    if silent > 0 {
        text += &format!("\n{silent} experiments were not run, and nothing is said about them.\n");
    }
    text
}

/// The answer to "why not Redis?", in two or three sentences.
pub(super) fn answer(claims: &[Claimed<'_>]) -> Vec<String> {
    let titled = |verdict: Verdict| -> Vec<&'static str> {
        claims.iter().filter(|claim| claim.verdict == verdict).map(|claim| claim.claim.title()).collect()
    };
    let all = || claims.iter().flat_map(|claim| &claim.experiments);
    let not_run = all().filter(|one| one.not_run.is_some()).count();
    let verdicts = [
        (Verdict::Confirmed, "held"),
        (Verdict::Depends, "held only for some ways of using Redis, or of asking"),
        (Verdict::Refuted, "did not hold"),
        (
            Verdict::Undecided,
            if not_run > 0 { "could not be decided by it" } else { "could not be decided here" },
        ),
    ];
    let parts = verdicts.into_iter().filter_map(|(verdict, what)| {
        let titles = titled(verdict);
        (!titles.is_empty()).then(|| format!("{} {what} ({})", number_word(titles.len()), titles.join(", ")))
    });
    let parts: Vec<String> = parts.collect();
    if claims.iter().all(|claim| claim.verdict == Verdict::Undecided) {
        return vec![
            "This cannot be answered from these records: no experiment has decided anything.".to_owned(),
        ];
    }
    let mut sentences = Vec::new();
    if not_run > 0 {
        let all = all().count();
        sentences.push(format!("This is only about what was run: {} of {all} experiments.", all - not_run));
    }
    sentences.push(format!("Of the five reasons usually given, {}.", listed(&parts)));
    let found = |verdict: Verdict| -> Vec<&Judged<'_>> {
        let all = claims.iter().flat_map(|claim| &claim.experiments);
        all.filter(|one| one.finding.verdict == verdict).collect()
    };
    let few = |found: Vec<&Judged<'_>>| few(&found, |one| named(one), |one| one.about().id.to_owned());
    let (own, naive) = (found(Verdict::Confirmed), found(Verdict::Depends));
    sentences.push(if own.is_empty() {
        let found = if not_run > 0 { "In what was run, no" } else { "No" };
        format!("{found} drawback was found that is Redis's own, one that our Redis backend has too and etcd has not.")
    } else {
        format!(
            "Take etcd where this matters, for it is Redis's own and our Redis backend has it too: {}.",
            few(own)
        )
    });
    if !naive.is_empty() {
        sentences.push(format!(
            "What belongs to the way people usually use Redis, or to how one asks, is no reason against it: {}.",
            few(naive)
        ));
    }
    sentences
}

/// An experiment within a sentence.
fn named(judged: &Judged<'_>) -> String {
    format!("“{}” ({})", judged.about().title, judged.about().id)
}

/// What was seen that speaks against etcd: the experiment, and a sentence.
pub(super) fn against_etcd(claims: &[Claimed<'_>]) -> Vec<(&'static str, String)> {
    let all = claims.iter().flat_map(|claim| &claim.experiments).filter(|one| one.not_run.is_none());
    all.filter_map(|one| Some((one.about().id, one.experiment.against_etcd(&one.records)?))).collect()
}

/// What a fair-minded maintainer would add: for each experiment whose figure is told first, and for each that is a reason to take etcd, since
/// there a reader acts on it. Whole, since half of it may say something else.
pub(super) fn caveats(claims: &[Claimed<'_>]) -> Vec<(&'static str, &'static str)> {
    caveats_of(claims, |one| one.finding.verdict == Verdict::Confirmed)
}

/// Those of the experiments whose figures are told first, and of those that `also` takes.
pub(super) fn caveats_of(
    claims: &[Claimed<'_>],
    also: impl Fn(&Judged<'_>) -> bool,
) -> Vec<(&'static str, &'static str)> {
    let told = claims.iter().flat_map(|claim| {
        let first: Vec<&str> = claim.deciding().into_iter().map(|one| one.about().id).collect();
        claim
            .experiments
            .iter()
            .filter(move |one| first.contains(&one.about().id))
            .chain(claim.experiments.iter().filter(|one| also(one)))
            .map(|one| one.about())
            .collect::<Vec<_>>()
    });
    let mut caveats: Vec<_> = told.map(|about| (about.id, about.caveat)).collect();
    caveats.retain(|(_, caveat)| !caveat.is_empty());
    caveats.sort_unstable();
    caveats.dedup();
    caveats
}

/// What is missing, a line each: steps that could not be run or broke off, runs that do not count, experiments without records.
pub(super) fn missing(report: &Report, claims: &[Claimed<'_>]) -> Vec<String> {
    let steps = |of: &dyn Fn(&Outcome) -> bool| -> BTreeSet<(&str, &str)> {
        let records = report.records.iter().filter(|record| of(&record.outcome));
        records.map(|record| (record.experiment.as_str(), record.step.as_str())).collect()
    };
    let reasons = |of: &dyn Fn(&Outcome) -> Option<&str>| -> String {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for record in &report.records {
            let Some(why) = of(&record.outcome) else { continue };
            let id = record.experiment.as_str();
            match reasons.iter_mut().find(|(other, _)| *other == why) {
                Some((_, ids)) if ids.contains(&id) => {}
                Some((_, ids)) => ids.push(id),
                None => reasons.push((why, vec![id])),
            }
        }
        few(&reasons, |(why, ids)| format!("{why} ({})", ids.join(", ")), |(_, ids)| ids.join(", "))
    };
    let all = format::count(steps(&|_| true).len() as f64);
    let mut lines = Vec::new();
    let not_run = steps(&|outcome| matches!(outcome, Outcome::NotRun { .. })).len();
    if not_run > 0 {
        let why = reasons(&|outcome| match outcome {
            Outcome::NotRun { why } => Some(why.as_str()),
            _ => None,
        });
        lines.push(format!("{} of {all} steps could not be run here: {why}.", format::count(not_run as f64)));
    }
    let failed = steps(&|outcome| matches!(outcome, Outcome::Failed { .. })).len();
    if failed > 0 {
        let why = reasons(&|outcome| match outcome {
            Outcome::Failed { why } => Some(why.as_str()),
            _ => None,
        });
        lines.push(format!("{} of {all} steps broke off: {why}.", format::count(failed as f64)));
    }
    let invalid = report.records.iter().filter(|one| matches!(one.outcome, Outcome::Invalid { .. })).count();
    if invalid > 0 {
        // By kind: the figures that follow differ from run to run.
        let why = reasons(&|outcome| match outcome {
            Outcome::Invalid { why } => Some(why.split(':').next().unwrap_or(why)),
            _ => None,
        });
        // Neither what holds only a distribution over several runs, nor what only says why a step was not done.
        let is_run = |record: &&Record| record.is_run() && !record.is_broken_off();
        let runs = format::count(report.records.iter().filter(is_run).count() as f64);
        lines.push(format!(
            "{} of {runs} runs were thrown away by the rules, and are in no figure: {why}.",
            format::count(invalid as f64)
        ));
    }
    let undecided = claims.iter().flat_map(|claim| &claim.experiments);
    let undecided = undecided.filter(|one| one.not_run.is_none() && !one.is_decided());
    let undecided: Vec<String> =
        undecided.map(|one| format!("{} ({})", one.about().id, one.finding.figure)).collect();
    if !undecided.is_empty() {
        lines.push(format!("Undecided, and in no verdict: {}.", undecided.join("; ")));
    }
    let silent = claims.iter().flat_map(|claim| &claim.experiments);
    let silent: Vec<&str> =
        silent.filter(|one| one.records.all().next().is_none()).map(|one| one.about().id).collect();
    if !silent.is_empty() {
        lines.push(format!("Not run, so nothing is said about them: {}.", silent.join(", ")));
    }
    lines
}

/// What the verdicts mean.
pub(super) const VERDICTS: [(&str, &str); 3] = [
    ("Confirmed", "the drawback is Redis's own: our Redis backend has it too, and etcd has not."),
    ("Depends", "it is there for one way of using Redis, or of asking, and not for another."),
    ("Refuted", "it is not there, or etcd has it as well."),
];

/// With a capital and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

/// The first sentence of a text, or all of it.
pub(super) fn first_sentence(text: &str) -> &str {
    let ends = text.match_indices(". ").map(|(at, _)| at);
    let mut ends = ends.filter(|at| text[at + 2..].starts_with(|next: char| next.is_uppercase()));
    ends.next().map_or(text, |at| &text[..=at])
}

/// The first four in full, and the others by their ids: nothing that a reader looks for is left out.
fn few<T>(items: &[T], full: impl Fn(&T) -> String, id: impl Fn(&T) -> String) -> String {
    const SHOWN: usize = 4;
    let (shown, others) = items.split_at(items.len().min(SHOWN));
    let shown = shown.iter().map(full).collect::<Vec<_>>().join("; ");
    if others.is_empty() {
        return shown;
    }
    format!("{shown}; and {}", others.iter().map(id).collect::<Vec<_>>().join(", "))
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn number_word(number: usize) -> String {
    const WORDS: [&str; 6] = ["none", "one", "two", "three", "four", "all five"];
    WORDS.get(number).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{few, first_sentence, listed, number_word};

    #[test]
    fn the_first_sentence_ends_where_the_next_begins() {
        assert_eq!(first_sentence("One. Two."), "One.");
        assert_eq!(first_sentence("As of etcd 3.4. it does. Two."), "As of etcd 3.4. it does.");
        assert_eq!(first_sentence("Only one"), "Only one");
        assert_eq!(first_sentence("Ä. Ö. ü"), "Ä.");
        assert_eq!(first_sentence(""), "");
    }

    #[test]
    fn long_lists_name_the_last_ones_by_their_ids() {
        let few = |items: &[&str]| few(items, |one| format!("“{one}”"), |one| (*one).to_owned());
        assert_eq!(few(&["a", "b"]), "“a”; “b”");
        assert_eq!(few(&["a", "b", "c", "d", "e", "f"]), "“a”; “b”; “c”; “d”; and e, f");
        assert_eq!(listed(&["a".to_owned(), "b".to_owned(), "c".to_owned()]), "a, b and c");
        assert_eq!([1, 5, 6].map(number_word), ["one", "all five", "6"]);
    }
}
