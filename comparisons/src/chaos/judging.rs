//! Histories that were kept, judged again: by checkers that have changed since, or to see what shows a violation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::check::{Checked, Standing, check};
use super::excerpt::excerpt;
use super::history::Line;
use super::lines;
use super::plan::Cell;
use super::result::{Judged, judged};
use super::run::CHECKING;

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
    use crate::chaos::fault::Fault;

    #[test]
    fn a_kept_history_is_judged_and_what_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        assert!(judge_again(&path).unwrap_err().contains("a.jsonl: line 1 is none of a history"));
        std::fs::write(&path, "").unwrap();
        assert!(judge_again(&path).unwrap_err().contains("does not say what was played"));
        let run = r#"{"line":"run","schema":1,"backend":"etcd","faults":["none"],"seed":7,"service":"s","ttl_ms":2000,"expiry_bound_ms":500,"convergence_ms":4000,"linearizable":true,"tells_gaps":true,"exact_deadlines":false,"keeps_acknowledged":true}"#;
        std::fs::write(&path, format!("{run}\n")).unwrap();
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
