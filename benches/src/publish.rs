//! The page of a run, the run that is recorded in the repository, and the documents that show it.

use std::fs;
use std::path::{Path, PathBuf};

use comparisons::environment::Environment;
use comparisons::lab::{Lab, Scale};
use comparisons::report::replace_section;
use comparisons::results::Results;

use crate::bars::{Bar, Bound, Verdict, rule};
use crate::contest::Topic;
use crate::figures::Figures;
use crate::profiles::Profiles;
use crate::report::{self, Report, commits};
use crate::run::RECORDS;
use crate::topics;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Which part of a document is made of records.
const MARKER: &str = "benches";

/// A document as it should be.
#[derive(Debug)]
pub struct Document {
    /// Where it lies.
    pub path: PathBuf,
    /// What it should hold.
    pub text: String,
}

/// What a folder of records holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The records of the bars.
    pub results: Results,
    /// What criterion found.
    pub figures: Figures,
    /// Where the time goes.
    pub profiles: Profiles,
}

impl Run {
    /// What is in a folder; nothing if it has no such files.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            results: Results::read(&folder.join(RECORDS))?,
            figures: Figures::read(folder)?,
            profiles: Profiles::read(folder)?,
        })
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn report(&self) -> Report {
        let topics = topics::all();
        let topics: Vec<(&str, &[Bar])> = topics.iter().map(|topic| (topic.name(), topic.bars())).collect();
        Report::new(&topics, &self.results, self.figures.clone()).with_profiles(self.profiles.clone())
    }

    /// All files that are made of it, by their names: the page and the pictures.
    fn files(&self) -> Vec<(String, String)> {
        let report = self.report();
        let pictures = report::pictures(&report).into_iter().map(|drawn| (drawn.svg(), drawn.file));
        let pictures = pictures.map(|(svg, file)| (file, svg));
        std::iter::once(("report.html".to_owned(), report::html(&report))).chain(pictures).collect()
    }
}

/// Makes the page and the summary of the run in `folder`, there. Of criterion it takes what is kept in the folder, or, if `criterion` names where, what a plain
/// `cargo bench` has left.
///
/// # Errors
/// If the run cannot be read, or the page not be written.
pub fn page(folder: &Path, criterion: Option<&Path>) -> Result<PathBuf, Failure> {
    let mut run = Run::read(folder)?;
    if let Some(criterion) = criterion {
        run.figures = Figures::of_criterion(criterion)?;
    }
    let report = run.report();
    let file = folder.join("report.html");
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("summary.json"), report::summary(&report)?)?;
        fs::write(&file, report::html(&report))
    };
    write().map_err(|error| format!("writing the page to {}: {error}", folder.display()))?;
    Ok(file)
}

/// Makes the run in `folder`, or the one that is recorded already, the one of the repository.
///
/// # Errors
/// If it cannot be read, is not fit to be cited, or a document has no place for it.
pub fn publish(folder: Option<&Path>, partial: bool) -> Result<(), Failure> {
    let recorded = recorded();
    let run = Run::read(folder.unwrap_or(&recorded))?;
    let topics = topics::all();
    if let Some(why) = unfit(&run, &topics, partial).filter(|_| folder.is_some() || !run.is_empty()) {
        let from = folder.unwrap_or(&recorded);
        return Err(format!("{} is not to be published: {why}", from.display()).into());
    }
    if !run.is_empty() {
        record(&run, &recorded).map_err(|error| format!("{}: {error}", recorded.display()))?;
    }
    for document in documents(&run)? {
        fs::write(&document.path, document.text)
            .map_err(|error| format!("{}: {error}", document.path.display()))?;
    }
    Ok(())
}

/// Writes a run and what is made of it to `folder`, in the place of the pictures that are there.
///
/// # Errors
/// If the system does not take it.
pub fn record(run: &Run, folder: &Path) -> Result<(), Failure> {
    let is_ours = |name: &str| {
        let number = name.strip_suffix(".svg").and_then(|name| name.split_once('-'));
        number.is_some_and(|(kind, number)| {
            ["ratios", "tails", "growth"].contains(&kind) && number.parse::<u32>().is_ok()
        })
    };
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    run.results.write(&folder.join(RECORDS))?;
    run.figures.write(folder)?;
    run.profiles.write(folder)?;
    run.files().into_iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))?;
    Ok(())
}

/// Why a run is not fit to be cited; none if all of it was measured in full by an optimized build of a commit, and of each bar that is not met a profile
/// shows where the time goes. With `partial` it may lack topics, steps, criterion's figures or some of them, and profiles, but what is there must be fit.
#[must_use]
pub fn unfit(run: &Run, topics: &[Box<dyn Topic>], partial: bool) -> Option<String> {
    let Run { results, figures, profiles } = run;
    let holding = results.environments.iter().enumerate().filter(|(go, _)| !results.done_in(*go).is_empty());
    let of_bars: Vec<&Environment> = holding.map(|(_, environment)| environment).collect();
    if of_bars.is_empty() {
        return Some("it does not say on what it was made".to_owned());
    }
    let of_profiles = profiles.0.values().map(|profile| &profile.environment);
    let all = of_bars.into_iter().chain(&figures.environment).chain(of_profiles);
    if let Some(why) = all.into_iter().find_map(unfit_environment) {
        return Some(why.to_owned());
    }
    if !figures.figures.is_empty() && figures.environment.is_none() {
        return Some(
            "nobody knows of which commit criterion's figures are (use `benches criterion`)".to_owned(),
        );
    }
    if let Some(why) = topics.iter().find_map(|topic| of_one_rule(results, topic.as_ref())) {
        return Some(why);
    }
    if let Some(why) = of_other_code(run) {
        return Some(why);
    }
    if partial {
        return None;
    }
    let none = figures.figures.is_empty().then(|| "criterion's figures are missing".to_owned());
    let in_part = || {
        let lacks = figures.lacks().join(" ");
        (!lacks.is_empty())
            .then(|| format!("criterion's figures are not whole: {}", lacks.trim_end_matches('.')))
    };
    let unfinished = || topics.iter().find_map(|topic| unfinished(results, topic.as_ref()));
    let unexplained = || topics.iter().find_map(|topic| unexplained(run, topic.as_ref()));
    none.or_else(in_part)
        .or_else(unfinished)
        .or_else(unexplained)
        .map(|why| format!("{why} (--partial takes it nevertheless)"))
}

/// What a topic says is of one program, and judged by the bars that it had when it was measured.
fn of_one_rule(results: &Results, topic: &dyn Topic) -> Option<String> {
    let name = topic.name();
    let commits: Vec<String> = commits(results, name).into_iter().collect();
    if commits.len() > 1 {
        return Some(format!(
            "{name} was measured in part by each of several programs ({})",
            commits.join(", ")
        ));
    }
    let then = results.rules().remove(name).filter(|then| *then != rule(topic.bars()));
    then.map(|then| format!("the bars of {name} were others when it was measured: {then}"))
}

/// Criterion's figures are shown beside the bars, so they are of a program and a machine of these.
fn of_other_code(run: &Run) -> Option<String> {
    let criterion = run.figures.environment.as_ref()?;
    let mut of_bars = run.results.done.iter().filter_map(|done| run.results.environments.get(done.go?));
    let is_alike =
        |there: &Environment| there.commit == criterion.commit && there.processor == criterion.processor;
    (!of_bars.any(is_alike)).then(|| {
        let Environment { commit, processor, .. } = criterion;
        format!("criterion's figures are of commit {commit} on {processor}, and no bar is (use `benches criterion`)")
    })
}

/// Every bar with a bound that is not met needs a profile of its commit. One about memory too, although that shows nothing of it, as the page says: it is one rule.
fn unexplained(run: &Run, topic: &dyn Topic) -> Option<String> {
    let (name, records) = (topic.name(), run.results.of(topic.name()));
    let commits = commits(&run.results, name);
    let profile = run.profiles.0.get(name).filter(|one| commits.contains(&one.environment.commit));
    let why = |bar: &Bar| {
        let (verdict, what) = (bar.judge(&records).verdict, bar.name());
        let is_shown = profile.is_some_and(|profile| !bar.is_of_time() || profile.has(bar.arms()));
        match verdict {
            Verdict::Met | Verdict::Told => None,
            Verdict::NotMeasured => Some(format!("{name}: {what} was not measured")),
            Verdict::Missed | Verdict::NotShown | Verdict::Undecided if is_shown => None,
            Verdict::Missed | Verdict::NotShown | Verdict::Undecided => Some(format!(
                "{name}: {what} is {}, and nothing of its commit shows where the time of its arms goes (use `benches profile {name}`)",
                verdict.word()
            )),
        }
    };
    topic.bars().iter().filter(|bar| bar.bound != Bound::Told).find_map(why)
}

fn unfit_environment(environment: &Environment) -> Option<&'static str> {
    let commit = environment.commit.as_str();
    let checks = [
        (environment.scale != "full", "it is a quick one"),
        (environment.build != "optimized", "the build was not optimized (use --release)"),
        (
            commit.is_empty() || commit.ends_with('+') || commit == "unknown",
            "it was made by a program that is in no commit",
        ),
    ];
    checks.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
}

fn unfinished(results: &Results, topic: &dyn Topic) -> Option<String> {
    let name = topic.name();
    let full = Lab::new(Scale::Full, 0, PathBuf::new(), PathBuf::new(), PathBuf::new());
    let missing =
        (1..=topic.steps(&full)).map(|step| step.to_string()).filter(|step| !results.has(name, step));
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty())
        .then(|| format!("{name} is missing, broke off or was not run, in step {}", missing.join(", ")))
}

/// Where the recorded run lies.
#[must_use]
pub fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// The documents that show a run, as they should be for it.
///
/// # Errors
/// If one cannot be read, or has no place for it.
pub fn documents(run: &Run) -> Result<Vec<Document>, Failure> {
    let report = run.report();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [
        (root.join("../README.md"), report::readme_section(&report)),
        (root.join("README.md"), report::benches_section(&report)),
    ];
    let document = |(path, section): (PathBuf, String)| {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = replace_section(&text, MARKER, &section)
            .ok_or_else(|| format!("{} has no place for the benchmarks", path.display()))?;
        Ok(Document { path, text })
    };
    documents.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests;
