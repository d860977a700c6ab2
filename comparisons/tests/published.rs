//! What is written about the recorded run is what its records say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use comparisons::claims::experiments;
use comparisons::publish::{documents, recorded, unfit, write_report};
use comparisons::results::Results;

const HINT: &str = "`cargo run -p comparisons -- publish` brings it up to date";

fn results() -> Results {
    Results::read(&recorded().join("results.jsonl")).unwrap()
}

/// Of what is made of the records.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = files.filter(|(name, _)| name != "results.jsonl");
    files.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_recorded_run_is_fit_to_be_cited() {
    let all = experiments();
    assert_eq!(unfit(&results(), all.iter().map(|experiment| experiment.about().id)), None);
}

#[test]
fn the_documents_show_the_recorded_run() {
    for document in documents(&results()).unwrap() {
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
