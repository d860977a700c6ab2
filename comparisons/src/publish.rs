//! The run that is recorded in the repository, and the documents that show it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::claims::experiments;
use crate::environment::{Environment, in_a_sentence, rows};
use crate::lab::{Lab, Scale};
use crate::report::{self, Report};
use crate::results::Results;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Which part of a document is made of the records.
const MARKER: &str = "claims";

/// A document as it should be.
#[derive(Debug)]
pub struct Document {
    /// Where it lies.
    pub path: PathBuf,
    /// What it should hold.
    pub text: String,
}

/// What the report is made of.
pub(crate) fn report_of(results: &Results) -> Report {
    let mut report = Report::new(results.records.clone(), rows(results));
    report.rules = results.rules();
    report.made_on = in_a_sentence(results);
    report
}

/// Whether a file is a picture of an experiment: `3a-1.svg`. Others that lie there are not ours to remove.
fn is_ours(name: &str) -> bool {
    let Some((id, number)) = name.strip_suffix(".svg").and_then(|name| name.split_once('-')) else {
        return false;
    };
    let mut letters = id.chars();
    letters.next().is_some_and(|letter| letter.is_ascii_digit())
        && letters.next().is_some_and(|letter| letter.is_ascii_lowercase())
        && letters.next().is_none()
        && !number.is_empty()
        && number.chars().all(|digit| digit.is_ascii_digit())
}

/// Writes the report and the pictures of `results` to `folder`, in the place of those that are there.
///
/// # Errors
/// If the system does not take them.
pub fn write_report(results: &Results, folder: &Path) -> Result<(), Failure> {
    let report = report_of(results);
    let write = || {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_ours(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        fs::write(folder.join("report.html"), report::html(&report))?;
        report::pictures(&report).into_iter().try_for_each(|(name, svg)| fs::write(folder.join(name), svg))
    };
    write().map_err(|error: std::io::Error| {
        format!("writing the report to {}: {error}", folder.display()).into()
    })
}

/// Makes the records in `file`, or those that are recorded already, the ones of the repository.
///
/// # Errors
/// If they cannot be read, are not fit to be cited, or a document has no place for them.
pub fn publish(file: Option<&Path>) -> Result<(), Failure> {
    let recorded = recorded();
    let from = file.map_or_else(|| recorded.join("results.jsonl"), Path::to_owned);
    let results = Results::read(&from)?;
    let ids = experiments();
    if let Some(why) = unfit(&results, ids.iter().map(|experiment| experiment.about().id)) {
        return Err(format!("{} is not to be published: {why}", from.display()).into());
    }
    fs::create_dir_all(&recorded)?;
    results.write(&recorded.join("results.jsonl"))?;
    write_report(&results, &recorded)?;
    for document in documents(&results)? {
        fs::write(&document.path, document.text)
            .map_err(|error| format!("{}: {error}", document.path.display()))?;
    }
    Ok(())
}

/// Why a run is not fit to be cited; none if it is a full one, of all experiments, of an optimized build of a commit, and nothing broke in it.
#[must_use]
pub fn unfit<'a>(results: &Results, mut experiments: impl Iterator<Item = &'a str>) -> Option<String> {
    if let Some(why) = experiments.find_map(|id| unfinished(results, id)) {
        return Some(why);
    }
    let of = |what: fn(&Environment) -> bool| results.environments.iter().any(what);
    if results.environments.is_empty() {
        return Some("it does not say on what it was made".to_owned());
    } else if of(|environment| environment.scale != "full") {
        return Some("it is a quick one".to_owned());
    } else if of(|environment| environment.theirs.is_some()) {
        return Some("it was made on servers that nobody else has".to_owned());
    } else if of(|environment| environment.build != "optimized") {
        return Some("the build was not optimized (use --release)".to_owned());
    } else if of(|environment| environment.commit.ends_with('+') || environment.commit == "unknown") {
        return Some("it was made by a program that is in no commit".to_owned());
    }
    let broken = results.records.iter().find(|record| record.is_broken_off());
    broken.map(|record| format!("{} {} broke off or was not run", record.experiment, record.step))
}

/// Which steps of a full run of an experiment are not there, or not all of them.
fn unfinished(results: &Results, id: &str) -> Option<String> {
    let seed = results.environments.last().map_or(1, |environment| environment.seed);
    let full = Lab::new(Scale::Full, seed, PathBuf::new(), PathBuf::new(), PathBuf::new());
    let all = experiments();
    let steps = all.iter().find(|experiment| experiment.about().id == id)?.steps(&full);
    if !results.done.iter().any(|done| done.experiment == id) {
        return Some(format!("{id} is missing"));
    }
    let missing = steps.iter().map(|step| step.name.as_str()).filter(|step| !results.has(id, step));
    let missing: Vec<&str> = missing.collect();
    (!missing.is_empty()).then(|| {
        format!("of {id} these steps are missing, broke off or were not run: {}", missing.join("; "))
    })
}

/// Where the recorded run lies.
#[must_use]
pub fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// The documents that show a run, as they should be for `results`.
///
/// # Errors
/// If one cannot be read, or has no place for it.
pub fn documents(results: &Results) -> Result<Vec<Document>, Failure> {
    let report = report_of(results);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sections = [
        (root.join("../README.md"), report::readme_section(&report)),
        (root.join("README.md"), report::comparisons_section(&report)),
    ];
    let document = |(path, section): (PathBuf, String)| {
        let text = fs::read_to_string(&path)?;
        let text = report::replace_section(&text, MARKER, &section)
            .ok_or_else(|| format!("{} has no place for the claims", path.display()))?;
        Ok(Document { path, text })
    };
    sections.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{is_ours, unfit};
    use crate::claims::experiments;
    use crate::environment::Environment;
    use crate::lab::{Lab, Scale};
    use crate::record::{Outcome, Record};
    use crate::results::{Done, Results};

    #[test]
    fn only_pictures_of_experiments_are_removed() {
        assert!(is_ours("3a-1.svg") && is_ours("5d-12.svg"));
        for name in ["logo.svg", "3a.svg", "3a-.svg", "3a-1.png", "3ab-1.svg", "a-1.svg", "3a-x.svg"] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn only_a_full_run_of_all_by_an_optimized_build_of_a_commit_is_published() {
        let text = |text: &str| text.to_owned();
        let environment = Environment {
            scale: text("full"),
            build: text("optimized"),
            commit: text("abc"),
            ..Environment::default()
        };
        let done = |step: crate::experiment::Step| Done {
            experiment: text("1a"),
            step: step.name,
            seconds: 1.0,
            complete: true,
            rule: text(""),
            go: None,
        };
        let full = Lab::new(Scale::Full, 1, PathBuf::new(), PathBuf::new(), PathBuf::new());
        let steps = experiments().into_iter().find(|one| one.about().id == "1a").unwrap().steps(&full);
        let done: Vec<Done> = steps.into_iter().map(done).collect();
        let fit = Results { environments: vec![environment.clone()], done, ..Results::default() };
        let unfit = |results: &Results| unfit(results, ["1a"].into_iter());
        assert_eq!(unfit(&fit), None);
        assert!(unfit(&Results::default()).is_some());
        let mut without = fit.clone();
        let last = without.done.pop().unwrap();
        assert!(unfit(&without).is_some_and(|why| why.contains(&last.step)));
        let mut broken_off = fit.clone();
        broken_off.done[0].complete = false;
        assert!(unfit(&broken_off).is_some_and(|why| why.contains(&fit.done[0].step)));
        let with = |change: fn(&mut Environment)| {
            let mut other = fit.clone();
            other.environments.iter_mut().for_each(change);
            other
        };
        assert!(unfit(&with(|one| one.scale = "quick".to_owned())).is_some());
        assert!(unfit(&with(|one| one.build = "not optimized".to_owned())).is_some());
        assert!(unfit(&with(|one| one.commit = "abc+".to_owned())).is_some());
        assert!(unfit(&with(|one| one.theirs = Some("etcd://a".to_owned()))).is_some());
        let broken = Record { outcome: Outcome::NotRun { why: text("no root") }, ..Record::new("a", 0) };
        assert!(unfit(&Results { records: vec![broken], ..fit.clone() }).is_some());
    }
}
