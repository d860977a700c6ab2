//! Histories that were kept, judged again: by checkers that have changed since, or to see what shows a violation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::check::{Checked, Standing, check};
use super::excerpt::excerpt;
use super::history::Line;
use super::lines;
use super::plan::Cell;
use super::record::{FILE, Played, Record};
use super::result::{CellResult, Judged, Outcome, judged};
use super::run::{CHECKING, HISTORIES, LATE, TOO_BUSY, file_name, on_a_busy_machine, outcome};
use crate::environment::commit;
use crate::publish::write_chaos_report;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the history in the file at `path` comes to now, for people; whether that is what was written down beforehand.
///
/// # Errors
/// The file cannot be read, or is no history of the chaos suite.
pub fn judge_again(path: &Path) -> Result<(String, bool), String> {
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let history = lines::read(path).map_err(|error| said(&error))?.lines;
    let cell = cell(&history).ok_or_else(|| said(&"it does not say what was played"))?;
    let began = Instant::now();
    let checked = check(&history, &|| began.elapsed() < CHECKING);
    let judged = judged(&cell, &history, &checked);
    Ok((in_words(&cell, &history, &checked, &judged), judged.as_expected))
}

/// The histories that are meant: files, and those in folders.
///
/// # Errors
/// A folder cannot be read.
pub fn histories(paths: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut within = Vec::new();
            for entry in std::fs::read_dir(path)? {
                within.push(entry?.path());
            }
            within.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
            within.sort();
            all.extend(within);
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

/// Judges what was kept of the record in the folder `from` again, and writes what it comes to as a record, with its report, to `to`. Gives a sentence for people.
///
/// A cell whose history was not kept is left out, unless it had come to nothing.
///
/// # Errors
/// A file cannot be read or written, or is none of a record; there is a record in `to` already.
pub async fn record_again(from: &Path, to: &Path) -> Result<String, Failure> {
    let file = to.join(FILE);
    if file.exists() {
        return Err(
            format!("{}: there is a record already; name another folder by --out", file.display()).into()
        );
    }
    let record = Record::read(&from.join(FILE))?;
    let by = commit().await;
    let goes = record.goes.iter().cloned().map(|mut go| {
        go.judged_by = Some(by.clone());
        go
    });
    let goes: Vec<_> = goes.collect();
    let all = record.cells.len();
    let judging = stream::iter(record.cells.into_values()).map(|played| {
        let folder = from.join(HISTORIES);
        async move { tokio::task::spawn_blocking(move || again(played, &folder)).await? }
    });
    let at_once = available_parallelism().map_or(1, usize::from);
    let judged: Vec<Option<Played>> = judging.buffer_unordered(at_once).try_collect().await?;
    let cells = judged.into_iter().flatten().map(|played| (played.result.cell.clone(), played));
    let record = Record { goes, cells: cells.collect::<BTreeMap<_, _>>() };
    std::fs::create_dir_all(to)?;
    std::fs::write(&file, record.text()?)?;
    write_chaos_report(&record, to)?;
    let (judged, findings) = (record.cells.len(), record.results().filter(|one| one.is_finding()).count());
    Ok(format!(
        "{judged} of {all} cells are in {}, the others' histories were not kept; {findings} are not as expected",
        file.display()
    ))
}

fn again(played: Played, folder: &Path) -> Result<Option<Played>, Failure> {
    let CellResult { cell, seconds, late_ms, .. } = &played.result;
    let path = folder.join(file_name(cell));
    if !path.exists() {
        // What nothing shows any more is left out, but for what came to nothing, and for findings.
        return Ok(
            Some(played).filter(|played| played.result.judged().is_none() || played.result.is_finding())
        );
    }
    let history = lines::read(&path).map_err(|error| format!("{}: {error}", path.display()))?.lines;
    // Of what broke off there may be the history of an earlier run.
    let is_of_it = match &played.result.outcome {
        Outcome::Judged(_) => true,
        Outcome::Failed { why } => why.starts_with(TOO_BUSY),
        Outcome::NotRun { .. } => false,
    };
    if !is_of_it {
        return Ok(Some(played));
    }
    let result = CellResult {
        outcome: outcome(cell, &history),
        cell: cell.clone(),
        seconds: *seconds,
        late_ms: *late_ms,
    };
    let result = on_a_busy_machine(result, Duration::from_millis(*late_ms), LATE);
    Ok(Some(Played { go: played.go, result }))
}

fn cell(history: &[Line]) -> Option<Cell> {
    history.iter().find_map(|line| match line {
        Line::Run(run) => Some(Cell { backend: run.backend, faults: run.faults.clone(), seed: run.seed }),
        _ => None,
    })
}

fn in_words(cell: &Cell, history: &[Line], checked: &Checked, judged: &Judged) -> String {
    let mark = if judged.as_expected { "" } else { " (NOT AS EXPECTED)" };
    let mut text = format!("{cell}: {}{mark}, {}", judged.verdict, judged.why);
    for violation in checked.violations.iter().filter(|one| one.standing == Standing::Broken) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {} at {}: {}", violation.invariant, violation.at, violation.what);
        for (number, line) in excerpt(history, violation).lines {
            let _ =
                write!(text, "\n    {}: {}", number + 1, serde_json::to_string(&line).unwrap_or_default());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::backend::Backend;
    use crate::chaos::check::Checked;
    use crate::chaos::fault::Fault;
    use crate::chaos::go::Go;
    use crate::chaos::record::Keeper;
    use crate::chaos::verdict::Verdict;

    const RUN: &str = r#"{"line":"run","schema":1,"backend":"etcd","faults":["none"],"seed":7,"service":"s","ttl_ms":2000,"expiry_bound_ms":500,"convergence_ms":4000,"linearizable":true,"tells_gaps":true,"exact_deadlines":false,"keeps_acknowledged":true}"#;

    #[tokio::test]
    async fn a_record_is_judged_again_by_the_histories_that_were_kept_and_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join(HISTORIES)).unwrap();
        let played = |seed, outcome| {
            let cell = Cell { backend: Backend::Etcd, faults: vec![Fault::None], seed };
            CellResult { cell, outcome, seconds: 1.0, late_ms: 0 }
        };
        let good = |seed| {
            let cell = Cell { backend: Backend::Etcd, faults: vec![Fault::None], seed };
            let judged = Judged {
                verdict: Verdict::Survived,
                as_expected: true,
                ..judged(&cell, &[], &Checked::default())
            };
            Outcome::Judged(Box::new(judged))
        };
        let mut keeper = Keeper::open(&from.join(FILE), Go::default()).unwrap();
        let not_run = Outcome::NotRun { why: "no disk".to_owned() };
        let mut finding = good(10);
        if let Outcome::Judged(judged) = &mut finding {
            (judged.verdict, judged.as_expected) = (Verdict::Violated, false);
        }
        for (seed, outcome) in [(7, good(7)), (8, good(8)), (9, not_run.clone()), (10, finding)] {
            keeper.add(&played(seed, outcome)).unwrap();
        }
        drop(keeper);
        let kept = from.join(HISTORIES).join(file_name(&played(7, not_run).cell));
        std::fs::write(kept, format!("{RUN}\n")).unwrap();
        let told = record_again(&from, &to).await.unwrap();
        assert!(told.starts_with("3 of 4 cells") && told.contains("2 are not as expected"), "{told}");
        let record = Record::read(&to.join(FILE)).unwrap();
        let verdicts: Vec<_> =
            record.results().map(|one| one.judged().map(|judged| judged.verdict)).collect();
        // Nothing shows any more what 8 came to; of 10 it is known that something was found.
        assert_eq!(verdicts, [Some(Verdict::Down), None, Some(Verdict::Violated)]);
        assert!(record.goes.iter().all(|go| go.judged_by.is_some()));
        let again = record_again(&from, &to).await.unwrap_err().to_string();
        assert!(again.contains("there is a record already"), "{again}");
    }

    #[test]
    fn a_kept_history_is_judged_and_what_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        assert!(judge_again(&path).unwrap_err().contains("a.jsonl: line 1 is none of a history"));
        std::fs::write(&path, "").unwrap();
        assert!(judge_again(&path).unwrap_err().contains("does not say what was played"));
        std::fs::write(&path, format!("{RUN}\n")).unwrap();
        let (text, as_expected) = judge_again(&path).unwrap();
        let expected = Cell { backend: Backend::Etcd, faults: vec![Fault::None], seed: 7 };
        assert!(
            text.starts_with(&format!("{expected}: DOWN (NOT AS EXPECTED), there is no last read")),
            "{text}"
        );
        assert!(!as_expected);
        assert_eq!(histories(&[folder.path().to_owned()]).unwrap(), [path]);
    }
}
