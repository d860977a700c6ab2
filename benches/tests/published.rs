//! What is written about the recorded run is what its records say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use benches::publish::{Run, documents, record, recorded, unfit};
use benches::topics;

const HINT: &str = "`cargo run -p benches -- publish` brings it up to date";

fn run() -> Run {
    Run::read(&recorded()).unwrap()
}

/// All files of a folder; none if there is no such folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    files.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_documents_show_the_recorded_run_or_say_that_there_is_none() {
    for document in documents(&run()).unwrap() {
        let (path, there) = (document.path.display(), fs::read_to_string(&document.path).unwrap());
        assert!(there == document.text, "{path} does not show the recorded run: {HINT}");
        assert_eq!(there.contains("Nothing has been published yet"), run().is_empty(), "{path}");
    }
}

#[test]
fn the_page_and_its_pictures_are_those_of_the_recorded_run() {
    let folder = tempfile::tempdir().unwrap();
    if !run().is_empty() {
        record(&run(), folder.path()).unwrap();
    }
    // Without a recorded run nothing may lie there.
    let (made, there) = (files(folder.path()), files(&recorded()));
    assert_eq!(made.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "{HINT}");
    for (name, text) in made {
        assert!(there[&name] == text, "{name} is not that of the recorded run: {HINT}");
    }
}

#[test]
fn a_recorded_run_is_fit_to_be_cited() {
    let why = unfit(&run(), &topics::all(), true);
    assert_eq!(why.is_some(), run().is_empty(), "{why:?}");
}
