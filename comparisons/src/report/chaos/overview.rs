//! What a record comes to, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use super::super::format::{count, runs};
use super::super::overview::sentence;
use crate::chaos::check::Invariant;
use crate::chaos::coverage::{Coverage, is_pair};
use crate::chaos::fault::Fault;
use crate::chaos::record::Record;
use crate::chaos::result::{CellResult, Judged, Outcome, says_something};
use crate::chaos::verdict::Verdict;

/// What the verdicts mean.
pub(super) const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Survived, "every promise was kept, and no watch had a gap"),
    (Verdict::Degraded, "promises were kept; something was lost or missed, and whoever it concerns was told"),
    (Verdict::Down, "it did not come back in time after the fault was healed"),
    (Verdict::Violated, "a promise was broken"),
    (Verdict::Unknown, "the checkers ran out of time, or lacked the truth, so it says nothing"),
    (Verdict::Invalid, "the fault did not provably bite, so it says nothing"),
];

/// What invariants are, for those who read of `I7`.
pub(super) fn invariants() -> impl Iterator<Item = (&'static str, &'static str)> {
    Invariant::ALL.into_iter().map(|invariant| {
        let name = invariant.name();
        let meaning = match invariant {
            Invariant::I1 => "revisions never fall",
            Invariant::I2 => "no change is told twice",
            Invariant::I3 => "one revision is never split",
            Invariant::I4 => "what is told is what happened",
            Invariant::I5 => "a resumed watch goes on with the next change, or says why not",
            Invariant::I6 => "nothing old comes after a bookmark",
            Invariant::I7 => "what was missed was said to be missed; silent loss is the worst there is",
            Invariant::I8 => "after the fault every watch and view equals the list",
            Invariant::I9 => "what is not renewed is gone within its bound",
            Invariant::I10 => "what is renewed stays",
            Invariant::I11 => "what is registered and renewing is in the list in the end",
            Invariant::I12 => "an old incarnation changes nothing of a newer one",
            Invariant::I13 => "while the registry is away, a view keeps what it had",
            Invariant::I14 => "who means to be listed is listed again after the fault",
            Invariant::I15 => "silence is told as stale",
            Invariant::I16 => "a consumer that does not read costs bounded memory",
            Invariant::I17 => "writes and lookups happen in one order, which real time agrees with",
        };
        (name, meaning)
    })
}

/// What it came to: the first sentence is the answer.
pub(super) fn answers(record: &Record) -> Vec<String> {
    let (ours, control): (Vec<&CellResult>, Vec<&CellResult>) =
        record.results().filter(|one| says(one)).partition(|one| one.cell.backend.is_ours());
    let mut sentences = Vec::new();
    if !ours.is_empty() {
        let silent = left_wrong(&ours);
        let lost = match silent {
            0 => "none".to_owned(),
            some => count(some as f64),
        };
        sentences.push(format!(
            "In {lost} of {} of this project's backends did a watcher miss something without being told, or end with a wrong list. They came to {}.",
            runs(ours.len()),
            tally(&ours)
        ));
        sentences.extend(lost_and_told(&ours));
    }
    if !control.is_empty() {
        let violated = control.iter().filter(|one| verdict(one) == Some(Verdict::Violated)).count();
        sentences.push(format!(
            "`redis-naive`, the registry on Redis that people write, is the control and must be caught: it was VIOLATED in {} of {}, and in {} of them a \
             watcher was left with a wrong list and no word of it; most often it broke {}.",
            count(violated as f64),
            runs(control.len()),
            count(left_wrong(&control) as f64),
            most_often(&control)
        ));
    }
    sentences.push(findings_in_a_sentence(record));
    sentences
}

/// Whether it was judged, and the verdict says something.
fn says(result: &CellResult) -> bool {
    verdict(result).is_some_and(says_something)
}

fn verdict(result: &CellResult) -> Option<Verdict> {
    result.judged().map(|judged| judged.verdict)
}

fn with(results: &[&CellResult], invariant: u8) -> usize {
    let breaks = |judged: &Judged| judged.broken.contains(&invariant);
    results.iter().filter_map(|result| result.judged()).filter(|judged| breaks(judged)).count()
}

/// In how many a watcher missed something without a word (I7), or did not end with the list (I8).
fn left_wrong(results: &[&CellResult]) -> usize {
    let judged = results.iter().filter_map(|result| result.judged());
    judged.filter(|judged| judged.broken.contains(&7) || judged.broken.contains(&8)).count()
}

fn tally(results: &[&CellResult]) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    results.iter().filter_map(|result| verdict(result)).for_each(|one| *counts.entry(one).or_default() += 1);
    let parts = counts.into_iter().map(|(verdict, many)| format!("{verdict} {}", count(many as f64)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Where the store itself lost what it had acknowledged, which was never promised, and whoever it concerns was told.
fn lost_and_told(ours: &[&CellResult]) -> Option<String> {
    let judged = ours.iter().filter_map(|one| one.judged()).filter(|judged| !judged.lost.is_empty());
    let many = judged.clone().count();
    let of = |invariant: Invariant| {
        let runs = judged.clone().filter(|judged| judged.lost.contains(&invariant.number())).count();
        (runs > 0).then(|| format!("{invariant} in {}", count(runs as f64)))
    };
    let what: Vec<String> = Invariant::ALL.into_iter().filter_map(of).collect();
    (many > 0).then(|| {
        format!(
            "In {} the store itself lost writes, or ended leases, that it had acknowledged, which `guarantees()` does not claim it keeps, and everybody who \
             watched was told: {}.",
            runs(many),
            what.join(", ")
        )
    })
}

fn most_often(control: &[&CellResult]) -> String {
    let mut counts: Vec<(usize, Invariant)> = Invariant::ALL
        .into_iter()
        .map(|invariant| (with(control, invariant.number()), invariant))
        .filter(|(many, _)| *many > 0)
        .collect();
    counts.sort_by_key(|(many, invariant)| (std::cmp::Reverse(*many), *invariant));
    let shown =
        counts.iter().take(4).map(|(many, invariant)| format!("{invariant} ({})", count(*many as f64)));
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

fn findings_in_a_sentence(record: &Record) -> String {
    match findings(record).len() {
        0 => "Every run came to what was written down beforehand.".to_owned(),
        1 => "One run did not come to what was written down beforehand, and is a finding.".to_owned(),
        some => format!(
            "{} runs did not come to what was written down beforehand, and are findings.",
            count(some as f64)
        ),
    }
}

/// The runs that did not come to what was written down beforehand.
pub(super) fn findings(record: &Record) -> Vec<&CellResult> {
    record.results().filter(|result| result.is_finding()).collect()
}

/// The faults of a run: `link-cut and wipe`.
pub(super) fn named(result: &CellResult) -> String {
    result.cell.faults.iter().map(|fault| fault.id()).collect::<Vec<_>>().join(" and ")
}

/// What is missing, a sentence each.
pub(super) fn missing(record: &Record) -> Vec<String> {
    let said = record.results().filter(|result| says(result));
    let [there, wanted] = Coverage::of(said.map(|result| &result.cell)).total();
    let mut sentences = Vec::new();
    if there < wanted {
        sentences.push(format!(
            "{} of the {} runs that a full record has are there.",
            count(there as f64),
            count(wanted as f64)
        ));
    }
    let nothing = record.results().filter(|one| verdict(one).is_some() && !says(one)).count();
    if nothing > 0 {
        sentences
            .push(format!("{} came to nothing that says something (INVALID or UNKNOWN).", runs(nothing)));
    }
    let reasons = |of: fn(&Outcome) -> Option<&str>| {
        let mut reasons: BTreeMap<&str, (usize, BTreeSet<String>)> = BTreeMap::new();
        for result in record.results() {
            if let Some(why) = of(&result.outcome) {
                let (many, faults) = reasons.entry(why).or_default();
                *many += 1;
                faults.insert(format!("{} on {}", named(result), result.cell.backend));
            }
        }
        reasons
    };
    let not_run = reasons(|outcome| match outcome {
        Outcome::NotRun { why } => Some(why),
        _ => None,
    });
    let failed = reasons(|outcome| match outcome {
        Outcome::Failed { why } => Some(why),
        _ => None,
    });
    for (reasons, what) in [(not_run, "could not be played here"), (failed, "broke off")] {
        for (why, (many, cells)) in reasons {
            let cells: Vec<String> = cells.into_iter().collect();
            let shown = cells.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            let more = if cells.len() > 4 { ", …" } else { "" };
            sentences.push(format!("{} {what} ({shown}{more}): {}", runs(many), sentence(why)));
        }
    }
    sentences
}

/// How much there is.
pub(super) fn extent(record: &Record) -> String {
    let judged: Vec<&CellResult> = record.results().filter(|result| result.judged().is_some()).collect();
    let singles: BTreeSet<_> = judged
        .iter()
        .filter(|one| !is_pair(&one.cell))
        .map(|one| (one.cell.faults.clone(), one.cell.backend))
        .collect();
    let faults: BTreeSet<Fault> = singles
        .iter()
        .flat_map(|(faults, _)| faults)
        .copied()
        .filter(|fault| *fault != Fault::None)
        .collect();
    let backends: BTreeSet<_> = judged.iter().map(|one| one.cell.backend).collect();
    let pairs = judged.iter().filter(|one| is_pair(&one.cell)).count();
    let mut seeds: BTreeMap<_, usize> = BTreeMap::new();
    for one in judged.iter().filter(|one| !is_pair(&one.cell)) {
        *seeds.entry((one.cell.faults.clone(), one.cell.backend)).or_default() += 1;
    }
    let (least, most) =
        (seeds.values().min().copied().unwrap_or(0), seeds.values().max().copied().unwrap_or(0));
    let seeds = match (least, most) {
        (_, 0 | 1) => String::new(),
        (least, most) if least == most => format!(", each with {most} seeds"),
        (least, most) => format!(", each with {least} to {most} seeds"),
    };
    let pairs = match pairs {
        0 => String::new(),
        some => format!(", and {} of two faults at once", runs(some)),
    };
    format!(
        "{}: {} {} on {} {} ({} cells{seeds}){pairs}.",
        runs(judged.len()),
        faults.len(),
        if faults.len() == 1 { "fault" } else { "faults" },
        backends.len(),
        if backends.len() == 1 { "backend" } else { "backends" },
        singles.len(),
    )
}

/// By what it was played: names and values, one for each commit.
pub(super) fn goes(record: &Record) -> Vec<(String, String)> {
    let mut rows: Vec<(String, BTreeSet<String>, BTreeSet<usize>, usize)> = Vec::new();
    for (number, go) in record.goes.iter().enumerate() {
        let cells = record.cells.values().filter(|played| played.go == number).count();
        let judged =
            go.judged_by.as_ref().map_or(String::new(), |commit| format!(", judged by commit {commit}"));
        let what = format!(
            "commit {} (code {}){judged}, {}, etcd {} and Redis {}; {}, {} cores, {:.0} GiB, {}",
            go.commit, go.code, go.build, go.etcd, go.redis, go.processor, go.cores, go.memory_gib, go.system
        );
        match rows.iter_mut().find(|(other, ..)| *other == what) {
            Some((_, dates, jobs, many)) => {
                dates.insert(go.date.clone());
                jobs.insert(go.jobs);
                *many += cells;
            }
            None => rows.push((what, BTreeSet::from([go.date.clone()]), BTreeSet::from([go.jobs]), cells)),
        }
    }
    let listed = |words: Vec<String>| words.join(", ");
    let row = |(what, dates, jobs, many): (String, BTreeSet<String>, BTreeSet<usize>, usize)| {
        let jobs = listed(jobs.iter().map(ToString::to_string).collect());
        (runs(many), format!("{what}; {}; {jobs} side by side", listed(dates.into_iter().collect())))
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::backend::Backend;
    use crate::chaos::check::Checked;
    use crate::chaos::go::Go;
    use crate::chaos::plan::Cell;
    use crate::chaos::record::Played;
    use crate::chaos::result::judged;

    fn record(results: &[(Backend, Fault, Verdict, &[u8], bool)]) -> Record {
        let mut record = Record { goes: vec![Go::default()], ..Record::default() };
        for (seed, (backend, fault, verdict, broken, as_expected)) in results.iter().enumerate() {
            let cell = Cell { backend: *backend, faults: vec![*fault], seed: seed as u64 };
            let judged = Judged {
                verdict: *verdict,
                broken: broken.iter().copied().collect(),
                as_expected: *as_expected,
                ..judged(&cell, &[], &Checked::default())
            };
            let outcome = Outcome::Judged(Box::new(judged));
            let result = CellResult { cell: cell.clone(), outcome, seconds: 1.0, late_ms: 0 };
            record.cells.insert(cell, Played { go: 0, result });
        }
        record
    }

    #[test]
    fn a_silent_loss_of_ours_is_in_the_first_sentence_and_a_finding_in_the_last() {
        use Backend::{Etcd, RedisNaive};
        let good = record(&[
            (Etcd, Fault::LinkCut, Verdict::Survived, &[], true),
            (RedisNaive, Fault::LinkCut, Verdict::Violated, &[7, 9], true),
        ]);
        let told = answers(&good);
        assert!(told[0].starts_with("In none of 1 run"), "{told:?}");
        assert!(told[1].contains("VIOLATED in 1 of 1 run, and in 1 of them"), "{told:?}");
        assert_eq!(told.last().unwrap(), "Every run came to what was written down beforehand.");
        let invalid = record(&[(Etcd, Fault::LinkCut, Verdict::Invalid, &[], false)]);
        assert_eq!(
            answers(&invalid),
            ["One run did not come to what was written down beforehand, and is a finding."]
        );
        assert!(missing(&invalid).iter().any(|one| one.starts_with("1 run came to nothing")));
        let bad = record(&[(Etcd, Fault::LinkCut, Verdict::Violated, &[7], false)]);
        let told = answers(&bad);
        assert!(told[0].starts_with("In 1 of 1 run"), "{told:?}");
        assert!(told.last().unwrap().starts_with("One run did not"), "{told:?}");
    }

    #[test]
    fn what_the_store_itself_lost_is_told_with_the_invariants() {
        let mut lossy = record(&[(Backend::RedisSentinel, Fault::SplitBrain, Verdict::Degraded, &[], true)]);
        for played in lossy.cells.values_mut() {
            if let Outcome::Judged(judged) = &mut played.result.outcome {
                judged.lost = [10, 12].into();
            }
        }
        let told = answers(&lossy);
        assert!(
            told[1].starts_with("In 1 run the store itself lost")
                && told[1].contains("I10 no flap in 1, I12 fencing in 1"),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_missing_of_a_record_is_told() {
        let told = missing(&record(&[(Backend::Etcd, Fault::Wipe, Verdict::Degraded, &[], true)]));
        assert!(
            told[0].starts_with("1 of the ") && told[0].ends_with("runs that a full record has are there."),
            "{told:?}"
        );
    }
}
