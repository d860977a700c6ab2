//! The run that is recorded in the repository, and the documents that show it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::chaos::go::Go;
use crate::chaos::record::{FILE, Record, Whose};
use crate::claims::experiments;
use crate::environment::{Environment, in_a_sentence, rows};
use crate::lab::{Lab, Scale};
use crate::report::{self, Report};
use crate::results::Results;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Which parts of a document are made of records: of those of the claims, and of those of the chaos suite.
const CLAIMS: &str = "claims";
const CHAOS: &str = "chaos";

/// What the report on the chaos suite is called beside the one on the claims.
const CHAOS_PAGE: &str = "chaos.html";

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
    // One that cannot be read is told by whoever publishes.
    report.chaos = recorded_chaos().ok().filter(|record| !record.cells.is_empty());
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

/// The record of the chaos suite that is published; nothing in it if there is none.
///
/// # Errors
/// If it cannot be read.
pub fn recorded_chaos() -> Result<Record, Failure> {
    Ok(Record::read(&recorded().join(FILE))?)
}

/// Writes the report on a record of the chaos suite to `folder`, in the place of the one that is there.
///
/// # Errors
/// If the system does not take it.
pub fn write_chaos_report(record: &Record, folder: &Path) -> Result<(), Failure> {
    write_page(record, folder, "report.html")
}

fn write_page(record: &Record, folder: &Path, name: &str) -> Result<(), Failure> {
    let is_old = |name: &str| name.starts_with("chaos-") && name.ends_with(".svg");
    let write = || {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_old(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        let page = report::chaos::page(record);
        fs::write(folder.join(name), page.html)?;
        page.pictures.into_iter().try_for_each(|(name, svg)| fs::write(folder.join(name), svg))
    };
    write().map_err(|error: std::io::Error| {
        format!("writing the report to {}: {error}", folder.display()).into()
    })
}

/// What a file or a folder that somebody names holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Records of the claims, in this file.
    Claims(PathBuf),
    /// A record of the chaos suite, in this file.
    Chaos(PathBuf),
}

impl Holds {
    /// What is at `path`: of a folder, what its files are called; of a file, what its first line says.
    ///
    /// # Errors
    /// Neither is there, or both.
    pub fn at(path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            let (claims, chaos) = (path.join("results.jsonl"), path.join(FILE));
            return match (claims.exists(), chaos.exists()) {
                (true, false) => Ok(Self::Claims(claims)),
                (false, true) => Ok(Self::Chaos(chaos)),
                (true, true) => Err(format!(
                    "{} has records of the claims and of the chaos suite: name {} or {}",
                    path.display(),
                    claims.display(),
                    chaos.display()
                )
                .into()),
                (false, false) => {
                    Err(format!("there is neither results.jsonl nor {FILE} in {}", path.display()).into())
                }
            };
        }
        let mut first = String::new();
        let file = fs::File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("there are no records in {}", path.display()),
            _ => format!("{}: {error}", path.display()),
        })?;
        BufReader::new(file).read_line(&mut first).map_err(|error| format!("{}: {error}", path.display()))?;
        let is_chaos = [r#"{"line":"go""#, r#"{"line":"cell""#, r#"{"cell":"#];
        let is_chaos = is_chaos.into_iter().any(|begins| first.starts_with(begins));
        Ok(if is_chaos { Self::Chaos(path.to_owned()) } else { Self::Claims(path.to_owned()) })
    }
}

/// Makes the report on the records at `path` again, in `out` or beside them.
///
/// # Errors
/// If there are none, they cannot be read, or the report cannot be written.
pub fn report_again(path: &Path, out: Option<&Path>) -> Result<(), Failure> {
    let holds = Holds::at(path)?;
    let (Holds::Claims(file) | Holds::Chaos(file)) = &holds;
    // Of a bare file name it is empty.
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let out = out.or(beside).unwrap_or(Path::new("."));
    match &holds {
        Holds::Claims(file) => write_report(&Results::read(file)?, out),
        // In the repository the other one is called so.
        Holds::Chaos(file) if out == recorded() => write_page(&Record::read(file)?, out, CHAOS_PAGE),
        Holds::Chaos(file) => write_chaos_report(&Record::read(file)?, out),
    }
}

/// Makes the records at `path`, or those that are recorded already, the ones of the repository. Of the chaos suite, cells are added to those that are
/// recorded, unless these are of other code or servers than the last run there; with `any_code` these stay, too.
///
/// # Errors
/// If they cannot be read, are not fit to be cited, or a document has no place for them.
pub fn publish(path: Option<&Path>, any_code: bool) -> Result<(), Failure> {
    let recorded = recorded();
    let mut results = Results::read(&recorded.join("results.jsonl"))?;
    match path.map(Holds::at).transpose()? {
        Some(Holds::Claims(file)) => results = Results::read(&file)?,
        Some(Holds::Chaos(file)) => publish_chaos(&file, any_code)?,
        None => {}
    }
    let ids = experiments();
    if let Some(why) = unfit(&results, ids.iter().map(|experiment| experiment.about().id)) {
        let from = path.unwrap_or(&recorded);
        return Err(format!("{} is not to be published: {why}", from.display()).into());
    }
    fs::create_dir_all(&recorded)?;
    results.write(&recorded.join("results.jsonl"))?;
    write_report(&results, &recorded)?;
    let chaos = recorded_chaos()?;
    if !chaos.cells.is_empty() {
        write_page(&chaos, &recorded, CHAOS_PAGE)?;
    }
    for document in documents(&results, &chaos)? {
        fs::write(&document.path, document.text)
            .map_err(|error| format!("{}: {error}", document.path.display()))?;
    }
    Ok(())
}

fn publish_chaos(file: &Path, any_code: bool) -> Result<(), Failure> {
    let new = Record::read(file)?;
    let last = new.goes.last().ok_or_else(|| format!("there is nothing in {}", file.display()))?;
    let merged = recorded_chaos()?.merged(&new);
    let part = merged.by(if any_code { Whose::Any } else { Whose::SameAs(last) });
    if let Some(why) = unfit_chaos(&part) {
        return Err(format!("{} is not to be published: {why}", file.display()).into());
    }
    let recorded = recorded();
    fs::create_dir_all(&recorded)?;
    Ok(fs::write(recorded.join(FILE), part.compact().text()?)?)
}

/// Why a record of the chaos suite is not fit to be cited; none if all of it was played by an optimized build of a commit. That it lacks something is
/// told in the report.
#[must_use]
pub fn unfit_chaos(record: &Record) -> Option<String> {
    record.goes.iter().find_map(Go::unfit)
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
pub fn documents(results: &Results, chaos: &Record) -> Result<Vec<Document>, Failure> {
    let report = report_of(results);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [
        (root.join("../README.md"), vec![(CLAIMS, report::readme_section(&report))]),
        (
            root.join("README.md"),
            vec![(CLAIMS, report::comparisons_section(&report)), (CHAOS, report::chaos::section(chaos))],
        ),
    ];
    let document = |(path, sections): (PathBuf, Vec<(&str, String)>)| {
        let mut text = fs::read_to_string(&path)?;
        for (marker, section) in sections {
            text = report::replace_section(&text, marker, &section)
                .ok_or_else(|| format!("{} has no place for the {marker}", path.display()))?;
        }
        Ok(Document { path, text })
    };
    documents.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Holds, is_ours, unfit};
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
    fn what_somebody_names_is_told_apart_by_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let told = |path: &std::path::Path| Holds::at(path).map_err(|error| error.to_string());
        assert!(told(folder.path()).unwrap_err().contains("neither"));
        std::fs::write(at("chaos.jsonl"), "{\"line\":\"go\",\"date\":\"\"}\n").unwrap();
        assert_eq!(told(folder.path()), Ok(Holds::Chaos(at("chaos.jsonl"))));
        std::fs::write(at("results.jsonl"), "{\"line\":\"environment\"}\n").unwrap();
        assert!(told(folder.path()).unwrap_err().contains("name "));
        assert_eq!(told(&at("results.jsonl")), Ok(Holds::Claims(at("results.jsonl"))));
        assert_eq!(told(&at("chaos.jsonl")), Ok(Holds::Chaos(at("chaos.jsonl"))));
        assert!(told(&at("other.jsonl")).unwrap_err().contains("there are no records in"));
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
