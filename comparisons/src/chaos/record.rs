//! What was played, as it is kept: one JSON object a line, to which each cell is added once it is judged.
//!
//! A result is honest only for what it was played with. So each run first says by which code, on which servers and on what machine, and the results that
//! follow are of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::go::Go;
use super::plan::Cell;
use super::result::{CellResult, Outcome, says_something};
use super::verdict::Verdict;

/// The file within a folder.
pub const FILE: &str = "chaos.jsonl";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// By what the cells that follow were played.
    Go(Go),
    /// What one came to.
    Cell(CellResult),
}

/// A cell that was played, and in which go.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Which of the [goes](Record::goes), from 0.
    pub go: usize,
    /// What it came to.
    pub result: CellResult,
}

/// What was played.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// One for each run that added something.
    pub goes: Vec<Go>,
    /// Of each cell what it came to when it was played last, by cell.
    pub cells: BTreeMap<Cell, Played>,
}

/// Whose results count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose<'a> {
    /// Only of the same code and servers.
    SameAs(&'a Go),
    /// Of all.
    Any,
}

impl Record {
    /// What the file at `path` holds; nothing if there is no such file. A last line that was broken off is left out.
    ///
    /// # Errors
    /// The file cannot be read, or a line is none of a record: which.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        };
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text).map_err(|(number, why)| {
            let what = format!("{}, line {number}: {why}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        const OLD: &str = "it is of an earlier program, which did not keep by what code it was played: remove the file, or name \
                           another folder";
        let mut record = Self::default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for (number, line) in whole.enumerate() {
            let is_old = || line.starts_with(r#"{"cell":"#);
            let parsed = serde_json::from_str(line).map_err(|error| {
                let why = if is_old() { OLD.to_owned() } else { error.to_string() };
                (number + 1, why)
            })?;
            match parsed {
                Line::Go(go) => record.goes.push(go),
                Line::Cell(result) => {
                    let last = record.goes.len().checked_sub(1);
                    let go =
                        last.ok_or((number + 1, "nothing before it says by what it was played".into()))?;
                    record.add(Played { go, result });
                }
            }
        }
        Ok(record)
    }

    /// Of the same code, what says something is not replaced by what says nothing, nor a finding by what came out well at another time.
    fn add(&mut self, played: Played) {
        let says = |played: &Played| match &played.result.outcome {
            Outcome::Judged(judged) if says_something(judged.verdict) => 2 + u8::from(!judged.as_expected),
            Outcome::Judged(_) => 1,
            Outcome::NotRun { .. } | Outcome::Failed { .. } => 0,
        };
        let before = self.cells.get(&played.result.cell);
        let stays =
            before.is_some_and(|before| self.plays_as(before.go, played.go) && says(&played) < says(before));
        if !stays {
            self.cells.insert(played.result.cell.clone(), played);
        }
    }

    fn plays_as(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|go| self.goes.get(go));
        one.zip(other).is_some_and(|(one, other)| one.differs(other).is_none())
    }

    /// The part of it that was played by whom is asked for.
    #[must_use]
    pub fn by(&self, whose: Whose<'_>) -> Self {
        let counts = |go: usize| match whose {
            Whose::Any => true,
            Whose::SameAs(wanted) => self.goes.get(go).is_some_and(|go| go.differs(wanted).is_none()),
        };
        let cells = self.cells.iter().filter(|(_, played)| counts(played.go));
        let mut part = Self { goes: self.goes.clone(), cells: BTreeMap::new() };
        part.cells = cells.map(|(cell, played)| (cell.clone(), played.clone())).collect();
        part.forget_idle()
    }

    /// Without goes of which nothing is left.
    fn forget_idle(mut self) -> Self {
        let mut numbers = BTreeMap::new();
        let mut goes: Vec<Go> = Vec::new();
        for (number, go) in self.goes.iter().enumerate() {
            if self.cells.values().any(|played| played.go == number) {
                // Two that differ in nothing are one.
                let same = goes.iter().position(|other| other == go);
                let new = same.unwrap_or_else(|| {
                    goes.push(go.clone());
                    goes.len() - 1
                });
                numbers.insert(number, new);
            }
        }
        for played in self.cells.values_mut() {
            played.go = numbers.get(&played.go).copied().unwrap_or_default();
        }
        Self { goes, cells: self.cells }
    }

    /// Both, of each cell what `later` says, if it says something.
    #[must_use]
    pub fn merged(&self, later: &Self) -> Self {
        let mut both = self.clone();
        let from = both.goes.len();
        both.goes.extend(later.goes.iter().cloned());
        for played in later.cells.values() {
            both.add(Played { go: played.go + from, result: played.result.clone() });
        }
        both.forget_idle()
    }

    /// What each cell came to, by cell.
    pub fn results(&self) -> impl Iterator<Item = &CellResult> {
        self.cells.values().map(|played| &played.result)
    }

    /// Only what is to be read of it: how it was struck, excerpts and pictures of what was not expected, and of the first seed of each fault and backend. Of
    /// pairs, for each backend of one.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut compact = self.clone().forget_idle();
        let mut shown = BTreeMap::new();
        for (cell, played) in &mut compact.cells {
            let is_finding = played.result.is_finding();
            let Outcome::Judged(judged) = &mut played.result.outcome else { continue };
            let is_first = *shown.entry(example_of(cell)).or_insert_with(|| cell.clone()) == *cell;
            // Of ours whatever is broken is shown, also where it was expected.
            let is_broken = cell.backend.is_ours() && judged.verdict == Verdict::Violated;
            if !is_finding && !is_first && !is_broken {
                judged.shown.clear();
                judged.windows.clear();
                (judged.course, judged.expected) = (None, None);
            }
        }
        compact
    }

    /// As the text of a file: each go, and what was played in it.
    ///
    /// # Errors
    /// That a value cannot be written, which none of ours is.
    pub fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        for (number, go) in self.goes.iter().enumerate() {
            let of_it = self.cells.values().filter(|played| played.go == number);
            let cells = of_it.map(|played| Line::Cell(played.result.clone()));
            for line in std::iter::once(Line::Go(go.clone())).chain(cells) {
                text.push_str(&serde_json::to_string(&line)?);
                text.push('\n');
            }
        }
        Ok(text)
    }
}

/// What a cell is an example of: of those that are alike, one is shown in full.
#[must_use]
pub fn example_of(cell: &Cell) -> String {
    match &cell.faults[..] {
        [fault] => format!("{fault} {}", cell.backend),
        _ => format!("pairs {}", cell.backend),
    }
}

/// A file of a record to which cells are added. While it is there nobody else adds to the same file.
#[derive(Debug)]
pub struct Keeper {
    file: File,
    path: PathBuf,
    go: Option<Go>,
}

impl Keeper {
    /// Opens the file at `path`, to add what is played in `go`.
    ///
    /// # Errors
    /// It cannot be opened; another process adds to it.
    pub fn open(path: &Path, go: Go) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(named)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let what = format!("{}: another run adds to it; name another folder by --out", path.display());
            io::Error::new(io::ErrorKind::WouldBlock, what)
        })?;
        mend(&file, path).map_err(named)?;
        Ok(Self { file, path: path.to_owned(), go: Some(go) })
    }

    /// Adds a result; before the first, by what it was played.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, result: &CellResult) -> io::Result<()> {
        let mut lines = Vec::new();
        let go = self.go.take().map(Line::Go);
        for line in go.into_iter().chain([Line::Cell(result.clone())]) {
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines)?;
        self.file.sync_data()
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Cuts off what was left of a line by a run that was killed while it wrote.
fn mend(file: &File, path: &Path) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() { file.set_len(u64::try_from(whole).unwrap_or(0)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::backend::Backend;
    use crate::chaos::check::Checked;
    use crate::chaos::fault::Fault;
    use crate::chaos::result::{Judged, judged};

    fn cell(seed: u64) -> Cell {
        Cell { backend: Backend::Etcd, faults: vec![Fault::Wipe], seed }
    }

    fn not_run(seed: u64) -> CellResult {
        CellResult {
            cell: cell(seed),
            outcome: Outcome::NotRun { why: "no disk".into() },
            seconds: 1.5,
            late_ms: 0,
        }
    }

    fn played(seed: u64) -> CellResult {
        let judged = Judged { as_expected: true, ..judged(&cell(seed), &[], &Checked::default()) };
        CellResult { cell: cell(seed), outcome: Outcome::Judged(Box::new(judged)), seconds: 2.0, late_ms: 7 }
    }

    fn go(code: &str) -> Go {
        Go { code: code.to_owned(), ..Go::default() }
    }

    fn of(record: &Record) -> Vec<&CellResult> {
        record.results().collect()
    }

    #[test]
    fn results_are_read_back_and_a_line_that_was_broken_off_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(Record::read(&path).unwrap(), Record::default());
        Keeper::open(&path, go("a")).unwrap().add(&not_run(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"line\":\"cell\"").unwrap();
        assert_eq!(of(&Record::read(&path).unwrap()), [&not_run(1)]);
        let mut keeper = Keeper::open(&path, go("b")).unwrap();
        keeper.add(&played(2)).unwrap();
        keeper.add(&not_run(3)).unwrap();
        let record = Record::read(&path).unwrap();
        assert_eq!(of(&record), [&not_run(1), &played(2), &not_run(3)]);
        assert_eq!(record.cells.values().map(|played| played.go).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(record.goes, [go("a"), go("b")]);
        assert_eq!(Record::parse(&record.text().unwrap()).unwrap(), record);
    }

    #[test]
    fn two_runs_do_not_add_to_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let first = Keeper::open(&path, go("a")).unwrap();
        let refused = Keeper::open(&path, go("a")).unwrap_err().to_string();
        assert!(refused.contains("another run"), "{refused}");
        drop(first);
        Keeper::open(&path, go("a")).unwrap();
    }

    #[test]
    fn what_is_no_result_is_named_by_its_line_and_what_is_of_an_earlier_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let error = |text: &str| {
            fs::write(&path, text).unwrap();
            Record::read(&path).unwrap_err().to_string()
        };
        let malformed = error("{}\n");
        assert!(malformed.contains("chaos.jsonl, line 1"), "{malformed}");
        let old = format!("{}\n", serde_json::to_string(&not_run(1)).unwrap());
        let refused = error(&old);
        assert!(refused.contains("line 1: it is of an earlier program"), "{refused}");
        let line = serde_json::to_string(&Line::Cell(not_run(1))).unwrap() + "\n";
        let alone = error(&line);
        assert!(alone.contains("nothing before it says"), "{alone}");
    }

    #[test]
    fn the_last_of_each_cell_counts_but_nothing_takes_the_place_of_a_verdict_of_the_same_code() {
        let lines = |lines: &[Line]| {
            let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
            Record::parse(&text).unwrap()
        };
        let [a, b] = ["a", "b"].map(|code| Line::Go(go(code)));
        let (nothing, verdict) = (Line::Cell(not_run(1)), Line::Cell(played(1)));
        let record = lines(&[a.clone(), nothing.clone(), verdict.clone(), nothing.clone()]);
        assert_eq!(of(&record), [&played(1)]);
        let record = lines(&[a, verdict, b, nothing]);
        assert_eq!(of(&record), [&not_run(1)], "what other code had come to says nothing");
    }

    #[test]
    fn a_finding_is_not_replaced_by_what_came_out_well_at_another_time() {
        let mut finding = played(1);
        if let Outcome::Judged(judged) = &mut finding.outcome {
            (judged.verdict, judged.as_expected) = (Verdict::Violated, false);
        }
        let mut well = played(1);
        if let Outcome::Judged(judged) = &mut well.outcome {
            judged.verdict = Verdict::Survived;
        }
        let last_of = |results: &[&CellResult], code: &str| {
            let mut record = Record { goes: vec![go("a"), go(code)], ..Record::default() };
            for (number, result) in results.iter().enumerate() {
                record.add(Played { go: number, result: (*result).clone() });
            }
            record.cells[&cell(1)].result.clone()
        };
        assert_eq!(last_of(&[&finding, &well], "a"), finding);
        assert_eq!(last_of(&[&well, &finding], "a"), finding);
        assert_eq!(last_of(&[&finding, &well], "b"), well, "other code may have mended it");
    }

    #[test]
    fn only_what_was_played_by_the_same_code_counts_unless_all_is_wanted() {
        let of_go = |code: &str, results: &[CellResult]| {
            let cells =
                results.iter().map(|result| (result.cell.clone(), Played { go: 0, result: result.clone() }));
            Record { goes: vec![go(code)], cells: cells.collect() }
        };
        let both = of_go("a", &[played(1), played(2)]).merged(&of_go("b", &[played(2), played(3)]));
        assert_eq!(both.by(Whose::SameAs(&go("a"))).cells.keys().collect::<Vec<_>>(), [&cell(1)]);
        assert_eq!(both.by(Whose::SameAs(&go("b"))).goes, [go("b")]);
        assert_eq!(both.by(Whose::Any), both);
        let again = both.merged(&of_go("b", &[played(1)]));
        assert_eq!(again.goes, [go("b")], "nothing of the other is left, and two goes alike are one");
    }

    #[test]
    fn compact_is_what_is_to_be_read_and_everything_unexpected() {
        let mut record = Record { goes: vec![go("a")], ..Record::default() };
        for seed in 1..=4 {
            let mut result = played(seed);
            if let Outcome::Judged(judged) = &mut result.outcome {
                judged.as_expected = seed != 3;
            }
            record.add(Played { go: 0, result });
        }
        let compact = record.compact();
        let drawn = compact.results().filter(|result| result.judged().unwrap().course.is_some());
        assert_eq!(drawn.map(|result| result.cell.seed).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(compact.cells.len(), 4);
        assert_eq!(compact.compact(), compact);
    }
}
