//! What is written about the recorded run is what its records say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
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

/// Group, functions and sizes of what is published of criterion's, whatever else there is.
const MEASURED: [(&str, &[&str], &[&str]); 24] = [
    ("register", STORES, ONE),
    ("keepalive", STORES, ONE),
    ("update", STORES, ONE),
    ("deregister", STORES, ONE),
    ("lookup", STORES, ONE),
    ("watch-memory", &["ours", "tokio::sync::watch"], ONE),
    ("watch-etcd", OURS_AND_RAW, ONE),
    ("watch-redis", OURS_AND_RAW, ONE),
    ("fold one change", ONE, &["10", "100", "1000", "10000", "100000"]),
    ("differences after one change", ONE, &["10", "100", "1000", "10000", "100000"]),
    ("read a view", ONE, ONE),
    ("lookup within", LAYERS, ONE),
    ("pick", PICKS, SIZES),
    ("pick and completion", PICKS_AND_COMPLETIONS, SIZES),
    ("pick of what is published", PICKS_OF_PUBLISHED, SIZES),
    // Two cannot be drawn of one.
    ("pick of what is published", &["snapshot and two loads"], &["10", "1000", "10000", "100000"]),
    ("fan-out", &["view", "watch", "broadcast"], &["1", "10", "100", "1000", "10000"]),
    ("register 10,000 instances, 32 at a time", &["Redis", "Redis, raw", "etcd", "etcd, raw"], ONE),
    ("heartbeats-etcd", OURS_AND_RAW, ONE),
    ("heartbeats-redis", OURS_AND_RAW, ONE),
    ("load-etcd", &["ours", "ours, a view", "raw"], ONE),
    ("load-redis", &["ours", "ours, a view", "raw"], ONE),
    ("gRPC call", &["ours", "plain tonic", "tonic's balance_channel"], &["1"]),
    ("gRPC call", &["ours", "tonic's balance_channel"], &["3"]),
];
const STORES: &[&str] = &["memory", "mutex and map", "etcd", "etcd, raw", "Redis", "Redis, raw"];
const OURS_AND_RAW: &[&str] = &["ours", "raw"];
const LAYERS: &[&str] = &["bare", "timeouts", "spans nobody listens to", "metrics nobody keeps", "all three"];
const PICKS: &[&str] = &[
    "p2c",
    "round robin",
    "random",
    "by weight",
    "in turn by weight",
    "rendezvous",
    "ring",
    "ring, bounded",
];
const PICKS_AND_COMPLETIONS: &[&str] = &[
    "a channel's p2c",
    "a channel's p2c, by weight",
    "a channel's round robin",
    "a channel's round robin, by weight",
    "a channel's consistent hash",
    "p2c",
    "tower's p2c",
    "mutex and map, least loaded",
    "mutex and map, in turn",
];
const PICKS_OF_PUBLISHED: &[&str] =
    &["a channel's p2c", "a channel's p2c, by weight", "p2c", "atomic load of the snapshot"];
const SIZES: &[&str] = &["1", "10", "1000", "10000", "100000"];
/// Where a group has one function, or no sizes.
const ONE: &[&str] = &[""];

/// What of criterion's is not there. A benchmark that is taken out of the program leaves no trace in the run itself.
fn unmeasured(run: &Run) -> Vec<String> {
    let mut wanted = Vec::new();
    for (group, functions, sizes) in MEASURED {
        for function in functions {
            wanted.extend(sizes.iter().map(|size| format!("{group}/{function}/{size}")));
        }
    }
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let figures = run.figures.figures.iter();
    let there: BTreeSet<_> = figures
        .map(|figure| format!("{}/{}/{}", figure.group, part(&figure.function), part(&figure.parameter)))
        .collect();
    wanted.retain(|wanted| !there.contains(wanted));
    wanted
}

#[test]
fn every_operation_pick_and_size_is_published_beside_what_it_is_compared_with() {
    let mut without = run();
    if without.is_empty() {
        return;
    }
    assert_eq!(unmeasured(&without), Vec::<String>::new());
    without.figures.figures.retain(|figure| figure.group != "deregister");
    assert_eq!(unmeasured(&without).len(), STORES.len(), "a group that is gone is found");
}

/// The figures with intervals that a text tells, as tables write them: `1.043 (1.000 to 1.089)`.
fn told(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || b".,".contains(&byte))
    };
    let told = words.windows(4).filter_map(|four| {
        let [ratio, low, to, high] = four else { return None };
        let low = low.strip_prefix('(')?;
        let (high, _) = high.split_once(')')?;
        (*to == "to" && [*ratio, low, high].iter().all(|word| number(word)))
            .then(|| format!("{ratio} ({low} to {high})"))
    });
    told.collect()
}

#[test]
fn what_is_written_by_hand_about_the_recorded_run_tells_figures_of_its_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).unwrap();
    let (made, by_hand) = text.split_once("<!-- benches:end -->").unwrap();
    let by_hand = told(by_hand);
    assert!(run().is_empty() || !by_hand.is_empty(), "figures are told there, and are found");
    for figure in by_hand {
        assert!(made.contains(&figure), "{figure} is not in the table of the recorded run");
    }
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
