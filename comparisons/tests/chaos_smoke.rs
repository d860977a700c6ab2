//! The chaos suite in short: faults that bite watches, on memory, etcd and Redis, one seed each. Not one may come to anything but what was written down.
//!
//! All but the slow consumer: a build that is not optimized does not write fast enough to fill its queue, and the fault would not bite.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::{Command, Stdio};

use comparisons::chaos::coverage::is_quick;
use comparisons::chaos::fault::Fault;
use comparisons::chaos::record::{FILE, Record};
use comparisons::chaos::result::{CellResult, Outcome};

/// They mostly wait; with more, two cores are too busy for the shortest of all deadlines.
const JOBS: &str = "8";

#[test]
fn faults_that_bite_watches_come_to_what_was_written_down() {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_comparisons"));
    let faults = Fault::all().iter().filter(|fault| is_quick(**fault) && **fault != Fault::SlowConsumer);
    let faults: Vec<&str> = faults.map(|fault| fault.id()).collect();
    let faults = faults.join(",");
    command.args(["chaos", "--fault", &faults, "--backend", "memory,etcd,redis", "--jobs", JOBS]);
    let status = command.arg("--out").arg(out.path()).stdin(Stdio::null()).status().unwrap();
    let record = Record::read(&out.path().join(FILE)).unwrap();
    let bad: Vec<String> = record.results().filter(|one| is_bad(one)).map(CellResult::summary).collect();
    if !bad.is_empty() {
        // What shows it is not to be lost with the folder.
        let kept = out.keep();
        panic!("see {}:\n{}", kept.display(), bad.join("\n"));
    }
    assert!(status.success(), "{status}");
    assert!(record.cells.len() >= 40, "only {} cells", record.cells.len());
}

/// What cannot be played for lack of root is not.
fn is_bad(result: &CellResult) -> bool {
    match &result.outcome {
        Outcome::Judged(judged) => !judged.as_expected,
        Outcome::NotRun { .. } => false,
        Outcome::Failed { .. } => true,
    }
}
