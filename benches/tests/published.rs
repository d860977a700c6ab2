//! What is written about the recorded run is what its records say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use benches::publish::{Document, Run, documents, record, recorded, unfit};
use benches::run::RECORDS;
use benches::topics;

const NOTHING: &str = "Nothing has been published yet";
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
        assert_eq!(there.contains(NOTHING), run().is_empty(), "{path}");
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

/// What is wrong with what is published in a folder, and with what the documents that show it say. Without the folder nothing is published, and both must say so.
fn wrong(folder: &Path, documents: &[String]) -> Option<String> {
    if folder.exists() {
        // Not even in part: what lies in the repository is cited.
        return unfit(&Run::read(folder).unwrap(), &topics::all(), false);
    }
    let silent = documents.iter().find(|text| !text.contains(NOTHING));
    silent.map(|text| {
        format!("nothing is published, and this does not say so: {}", text.lines().next().unwrap())
    })
}

fn read(documents: &[Document]) -> Vec<String> {
    documents.iter().map(|document| fs::read_to_string(&document.path).unwrap()).collect()
}

#[test]
fn what_is_published_is_whole() {
    let documents = read(&documents(&run()).unwrap());
    assert_eq!(documents.len(), 2, "the README of the project, and that of the benchmarks");
    assert_eq!(wrong(&recorded(), &documents), None);
}

#[test]
fn a_part_of_a_run_or_silence_about_none_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("results");
    let says_so = format!("# Title\n{NOTHING}\n");
    assert_eq!(wrong(&absent, &[says_so.clone(), says_so.clone()]), None);
    let told = wrong(&absent, &[says_so, "# Silent\n".to_owned()]).unwrap();
    assert!(told.contains("# Silent"), "{told}");
    fs::create_dir(&absent).unwrap();
    assert!(wrong(&absent, &[]).is_some(), "an empty folder is no run");
    fs::write(absent.join(RECORDS), "").unwrap();
    assert!(wrong(&absent, &[]).is_some());
}
