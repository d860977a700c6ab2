//! The file of records: `results.jsonl`, one JSON object a line, to which each finished step is added as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::experiment::Experiment;
use crate::record::{Outcome, Record, Records};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// Where and with what the records that follow were made.
    Environment(Environment),
    /// An experiment was measured again from here on: what it had said before.
    Again(Again),
    /// A run.
    Record(Record),
    /// The step to which the records before it belong is done. Records without such a line are of a step that was broken off.
    Step(Done),
}

/// A step that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The experiment.
    pub experiment: String,
    /// Its step.
    pub step: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing of it broke off or could not be run, so that it need not be done again.
    #[serde(default = "yes")]
    pub complete: bool,
    /// The rule that decides, as it was worded then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// In which of the [environments](Results::environments) it was done, from 0. A line without it was done in the last one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<usize>,
}

/// That the records of an experiment took the place of others, and what those had said: so that nobody can measure until it suits and keep
/// silent about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// The experiment.
    pub experiment: String,
    /// The day, in UTC.
    pub date: String,
    /// The commit of the program that measured it again.
    pub commit: String,
    /// The commits of those that had measured it before; none if that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits_before: Vec<String>,
    /// How many steps of it were done before.
    pub steps: usize,
    /// How many of these had broken off, or could not be run.
    pub broken_off: usize,
    /// How many runs they held, also those that did not count.
    pub runs: usize,
    /// The verdict before, by the rule as the program that measured again had it.
    pub verdict: String,
    /// The figure that decided it.
    pub figure: String,
}

fn yes() -> bool {
    true
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// One for each time that it was worked on.
    pub environments: Vec<Environment>,
    /// The records of steps that are done.
    pub records: Vec<Record>,
    /// The steps.
    pub done: Vec<Done>,
    /// Which experiments were measured again, in order.
    pub again: Vec<Again>,
}

/// Why a file of records cannot be used.
#[derive(Debug)]
pub enum ResultsError {
    /// The system does not give it.
    Io(PathBuf, io::Error),
    /// A line is not one of ours.
    Malformed {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

impl fmt::Display for ResultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Malformed { file, line, why } => {
                write!(f, "{}, line {line}, is no record of this program: {why}", file.display())
            }
        }
    }
}

impl std::error::Error for ResultsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Malformed { why, .. } => Some(why),
        }
    }
}

impl Results {
    /// What is in `file`; nothing if there is no such file. A last line that was cut off is left out, with the step that it belongs to.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(file: &Path) -> Result<Self, ResultsError> {
        match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ResultsError::Io(file.to_owned(), error)),
            Ok(text) => Self::parse(&text).map_err(|(line, why)| {
                let file = file.to_owned();
                ResultsError::Malformed { file, line, why }
            }),
        }
    }

    fn parse(text: &str) -> Result<Self, (usize, serde_json::Error)> {
        let mut results = Self::default();
        let mut of_step = Vec::new();
        // None where several environments stand together: which of them the steps after them belong to was once not kept.
        let mut go = None;
        let mut is_alone = true;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let parsed = match serde_json::from_str(line) {
                Ok(parsed) => parsed,
                Err(_) if !line.ends_with('\n') => break,
                Err(why) => return Err((number + 1, why)),
            };
            match parsed {
                Line::Environment(environment) => {
                    go = is_alone.then_some(results.environments.len());
                    is_alone = false;
                    results.environments.push(environment);
                }
                Line::Again(again) => results.again.push(again),
                Line::Record(record) => of_step.push(record),
                Line::Step(mut done) => {
                    is_alone = true;
                    done.go = done.go.or(go);
                    let belongs =
                        |record: &Record| record.experiment == done.experiment && record.step == done.step;
                    // In the place of an earlier time.
                    results.records.retain(|record| !belongs(record));
                    results
                        .done
                        .retain(|other| (&other.experiment, &other.step) != (&done.experiment, &done.step));
                    results.records.extend(of_step.drain(..).filter(belongs));
                    results.done.push(done);
                }
            }
        }
        Ok(results)
    }

    /// The records of an experiment.
    #[must_use]
    pub fn of(&self, experiment: &str) -> Records {
        self.records.iter().filter(|record| record.experiment == experiment).cloned().collect()
    }

    /// What an experiment says that is measured again now, before it is; none if nothing of it is there.
    #[must_use]
    pub fn before_again(&self, experiment: &dyn Experiment, here: &Environment) -> Option<Again> {
        let id = experiment.about().id;
        let done: Vec<&Done> = self.done.iter().filter(|done| done.experiment == id).collect();
        let records = self.of(id);
        let finding = experiment.judge(&records);
        let goes: BTreeSet<usize> = done.iter().filter_map(|done| done.go).collect();
        let commits = goes.iter().filter_map(|go| Some(self.environments.get(*go)?.commit.clone()));
        (!done.is_empty()).then(|| Again {
            experiment: id.to_owned(),
            date: here.date.clone(),
            commit: here.commit.clone(),
            commits_before: commits.collect(),
            steps: done.len(),
            broken_off: done.iter().filter(|done| !done.complete).count(),
            runs: records.all().filter(|record| record.is_run() && !record.is_broken_off()).count(),
            verdict: finding.verdict.word().to_owned(),
            figure: finding.figure,
        })
    }

    /// The experiments that have steps done in an environment, in order; none if which belong to it was not kept.
    #[must_use]
    pub fn done_in(&self, go: usize) -> BTreeSet<&str> {
        let done = self.done.iter().filter(|done| done.go == Some(go));
        done.map(|done| done.experiment.as_str()).collect()
    }

    /// The rules of the experiments as they were worded when they were run.
    #[must_use]
    pub fn rules(&self) -> BTreeMap<String, String> {
        let rules = self.done.iter().filter(|done| !done.rule.is_empty());
        rules.map(|done| (done.experiment.clone(), done.rule.clone())).collect()
    }

    /// Whether a step is done, all of it.
    #[must_use]
    pub fn has(&self, experiment: &str, step: &str) -> bool {
        self.done.iter().any(|done| done.complete && done.experiment == experiment && done.step == step)
    }

    /// Whether something broke in one of the experiments that `selected` takes.
    #[must_use]
    pub fn has_failed(&self, selected: impl Fn(&str) -> bool) -> bool {
        let failed = |record: &Record| matches!(record.outcome, Outcome::Failed { .. });
        self.records.iter().any(|record| failed(record) && selected(&record.experiment))
    }

    fn lines(&self) -> Vec<Line> {
        let environments = self.environments.iter().cloned().map(Line::Environment);
        let again = self.again.iter().cloned().map(Line::Again);
        let steps = self.done.iter().flat_map(|done| {
            let belongs = |record: &&Record| record.experiment == done.experiment && record.step == done.step;
            let records = self.records.iter().filter(belongs).cloned().map(Line::Record);
            records.chain([Line::Step(done.clone())])
        });
        environments.chain(again).chain(steps).collect()
    }

    /// Writes all to `file`, in the place of what is there.
    ///
    /// # Errors
    /// If the system does not take it; then the old file stands.
    pub fn write(&self, file: &Path) -> Result<(), ResultsError> {
        let new = file.with_extension("jsonl.new");
        let write = || {
            fs::write(&new, text(&self.lines())?)?;
            fs::rename(&new, file)
        };
        write().map_err(|error| ResultsError::Io(file.to_owned(), error))
    }
}

fn text(lines: &[Line]) -> io::Result<String> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
    }
    Ok(text)
}

/// Adds lines to a file, and sees to it that they are on disk.
///
/// # Errors
/// If the system does not take them.
pub fn append(file: &Path, lines: &[Line]) -> Result<(), ResultsError> {
    let write = || {
        let mut open = OpenOptions::new().create(true).append(true).open(file)?;
        open.write_all(text(lines)?.as_bytes())?;
        open.sync_all()
    };
    write().map_err(|error| ResultsError::Io(file.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Done, Line, Results, append};
    use crate::environment::Environment;
    use crate::record::{Outcome, Record};

    fn record(step: &str, run: u32) -> Record {
        Record { experiment: "1a".to_owned(), step: step.to_owned(), ..Record::new("etcd", run) }
    }

    fn step(step: &str) -> Line {
        Line::Step(Done {
            experiment: "1a".to_owned(),
            step: step.to_owned(),
            seconds: 1.0,
            complete: true,
            rule: String::new(),
            go: None,
        })
    }

    #[test]
    fn steps_that_were_broken_off_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        append(&file, &[Line::Record(record("a", 0)), step("a"), Line::Record(record("b", 0))]).unwrap();
        append(&file, &[Line::Record(record("c", 1)), step("c")]).unwrap();
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "{\"line\":\"rec").unwrap();
        let results = Results::read(&file).unwrap();
        assert_eq!(results.records, [record("a", 0), record("c", 1)]);
        assert!(results.has("1a", "a") && !results.has("1a", "b") && results.has("1a", "c"));
        results.write(&file).unwrap();
        assert_eq!(Results::read(&file).unwrap(), results);
    }

    #[test]
    fn a_step_that_is_done_again_takes_the_place_of_the_first() {
        let broken = Record { outcome: Outcome::Failed { why: "no".to_owned() }, ..record("a", 0) };
        let first = Line::Step(Done {
            experiment: "1a".to_owned(),
            step: "a".to_owned(),
            seconds: 1.0,
            complete: false,
            rule: String::new(),
            go: None,
        });
        let lines = [Line::Record(broken), first, Line::Record(record("b", 0)), step("b")];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        append(&file, &lines).unwrap();
        let results = Results::read(&file).unwrap();
        assert!(
            !results.has("1a", "a")
                && results.has_failed(|id| id == "1a")
                && !results.has_failed(|id| id == "2a")
        );
        append(&file, &[Line::Record(record("a", 1)), step("a")]).unwrap();
        let results = Results::read(&file).unwrap();
        assert!(results.has("1a", "a") && !results.has_failed(|_| true));
        assert_eq!(results.records, [record("b", 0), record("a", 1)]);
    }

    #[test]
    fn a_file_of_something_else_is_refused_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        append(&file, &[step("a")]).unwrap();
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "{\"a\":1}\n").unwrap();
        let error = Results::read(&file).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert_eq!(Results::read(&folder.path().join("none")).unwrap(), Results::default());
    }

    fn go(commit: &str) -> Line {
        Line::Environment(Environment { commit: commit.to_owned(), ..Environment::default() })
    }

    #[test]
    fn steps_belong_to_the_environment_before_them_and_still_do_when_they_are_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        append(&file, &[go("abc"), step("a"), step("b"), go("def"), step("b"), step("c")]).unwrap();
        for _ in 0..2 {
            let results = Results::read(&file).unwrap();
            let goes = results.done.iter().map(|done| (done.step.as_str(), done.go));
            assert_eq!(goes.collect::<Vec<_>>(), [("a", Some(0)), ("b", Some(1)), ("c", Some(1))]);
            results.write(&file).unwrap();
        }
        append(&file, &[go("ghi"), step("c")]).unwrap();
        let last = Results::read(&file).unwrap().done.pop().unwrap();
        assert_eq!((last.step.as_str(), last.go), ("c", Some(2)));
    }

    #[test]
    fn files_that_did_not_keep_which_environment_was_whose_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        append(&file, &[go("abc"), go("def"), step("a")]).unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains("\"go\""));
        let results = Results::read(&file).unwrap();
        assert!(results.done.iter().all(|done| done.go.is_none()) && results.again.is_empty());
        results.write(&file).unwrap();
        assert_eq!(Results::read(&file).unwrap(), results);
    }
}
