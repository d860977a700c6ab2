//! What is written about the recorded run is what its records say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use comparisons::claims::experiments;
use comparisons::publish::{
    documents, recorded, recorded_chaos, report_again, unfit, unfit_chaos, write_report,
};
use comparisons::results::Results;

const HINT: &str = "`cargo run -p comparisons -- publish` brings it up to date";

fn results() -> Results {
    Results::read(&recorded().join("results.jsonl")).unwrap()
}

/// What is made of the records of the claims.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = files.filter(|(name, _)| name != "results.jsonl" && !name.starts_with("chaos"));
    files.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_recorded_run_is_fit_to_be_cited() {
    let all = experiments();
    assert_eq!(unfit(&results(), all.iter().map(|experiment| experiment.about().id)), None);
}

#[test]
fn the_documents_show_the_recorded_run() {
    for document in documents(&results(), &recorded_chaos().unwrap()).unwrap() {
        let there = fs::read_to_string(&document.path).unwrap();
        assert!(there == document.text, "{} does not show the recorded run: {HINT}", document.path.display());
    }
}

#[test]
fn the_report_and_its_pictures_are_those_of_the_recorded_run() {
    let folder = tempfile::tempdir().unwrap();
    write_report(&results(), folder.path()).unwrap();
    let (made, there) = (files(folder.path()), files(&recorded()));
    assert_eq!(made.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "{HINT}");
    for (name, text) in made {
        assert!(there[&name] == text, "{name} is not that of the recorded run: {HINT}");
    }
}

#[test]
fn the_recorded_chaos_is_fit_to_be_cited_and_its_page_is_made_of_it() {
    let chaos = recorded_chaos().unwrap();
    assert_eq!(unfit_chaos(&chaos), None);
    let there = fs::read_to_string(recorded().join("chaos.html"));
    assert_eq!(there.is_err(), chaos.cells.is_empty(), "{HINT}");
    if let Ok(there) = there {
        let folder = tempfile::tempdir().unwrap();
        report_again(&recorded().join("chaos.jsonl"), Some(folder.path())).unwrap();
        let made = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(made == there, "chaos.html is not that of the recorded cells: {HINT}");
    }
}
