//! The run that is recorded in the repository, and the documents that show it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::rows;
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

fn report_of(results: &Results) -> Report {
    Report::new(results.records.clone(), rows(&results.environments))
}

/// Writes the report and the pictures of `results` to `folder`, in the place of those that are there.
///
/// # Errors
/// If the system does not take them.
pub fn write_report(results: &Results, folder: &Path) -> Result<(), Failure> {
    let report = report_of(results);
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    fs::write(folder.join("report.html"), report::html(&report))?;
    for (name, svg) in report::pictures(&report) {
        fs::write(folder.join(name), svg)?;
    }
    Ok(())
}

/// Makes the records in `file`, or those that are recorded already, the ones of the repository.
///
/// # Errors
/// If they cannot be read, or a document has no place for them.
pub fn publish(file: Option<&Path>) -> Result<(), Failure> {
    let recorded = recorded();
    if let Some(file) = file {
        let results = Results::read(file)?;
        if results.done.is_empty() {
            return Err(format!("{} holds no finished step", file.display()).into());
        }
        fs::create_dir_all(&recorded)?;
        results.write(&recorded.join("results.jsonl"))?;
    }
    let results = Results::read(&recorded.join("results.jsonl"))?;
    write_report(&results, &recorded)?;
    for document in documents(&results)? {
        fs::write(&document.path, document.text)?;
    }
    Ok(())
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
