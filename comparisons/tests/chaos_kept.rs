//! Seeds with which the chaos suite has found something, in what it tests or in itself, and which are kept: none of them may find it again.
//!
//! Since half of the owners reach the store by the links that are struck, seeds from before that draw other workloads than when they found it. What was found is held by tests of its own, too:
//! of the checkers in `chaos::check`, of the proxies and of `registry-redis` beside them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Stdio;

use comparisons::chaos::record::{FILE, Record};
use comparisons::chaos::result::Outcome;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::process::Command;

/// So many are played side by side.
const AT_ONCE: usize = 3;

/// Backend, faults, seed, and what it had found.
const KEPT: [(&str, &str, u64, &str); 10] = [
    ("redis-cluster", "slot-migration", 1, "moves of a slot kept the dead for minutes"),
    ("redis", "client-paused", 1, "the checker took a list that was read late for a loss"),
    ("redis", "restore+black-hole-to-server", 17, "the checker took two histories of one name for one"),
    ("redis", "black-hole-to-server+restore", 22, "the same, where nobody had seen what was lost"),
    ("redis-cluster", "leader-pause", 16, "the checker took a resumption into a lost history for a loss"),
    (
        "etcd",
        "link-reset+restore",
        20,
        "the checker took a history that went on under a new name for another",
    ),
    (
        "etcd-cluster",
        "slow-consumer+server-kill",
        13,
        "the checker took what was read anew for what was held",
    ),
    ("etcd-cluster", "minority-partition", 21, "proxies between members stood still: no last read"),
    ("etcd-cluster", "majority-partition", 21, "the same: no leader within 30 s"),
    ("etcd-cluster", "one-way-partition", 21, "the same"),
];

/// Plays one by the program; gives what is wrong.
async fn played(out: &Path, (backend, faults, seed, found): (&str, &str, u64, &str)) -> Option<String> {
    let out = out.join(format!("{backend}-{faults}-{seed}"));
    let which = if faults.contains('+') { "--pair" } else { "--fault" };
    let mut command = Command::new(env!("CARGO_BIN_EXE_comparisons"));
    command.args(["chaos", "--backend", backend, which, faults, "--seed", &seed.to_string(), "--out"]);
    let output = command.arg(&out).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let record = Record::read(&out.join(FILE)).unwrap();
    let results: Vec<_> = record.results().collect();
    let is_well = |outcome: &Outcome| matches!(outcome, Outcome::Judged(judged) if judged.as_expected);
    match results[..] {
        [one] if is_well(&one.outcome) && output.status.success() => None,
        [one] => Some(format!("{} (it had found: {found})", one.summary())),
        _ => Some(format!("{backend} under {faults}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[tokio::test]
async fn seeds_that_have_found_something_find_it_no_more() {
    let out = tempfile::tempdir().unwrap();
    let playing = stream::iter(KEPT).map(|kept| played(out.path(), kept)).buffer_unordered(AT_ONCE);
    let bad: Vec<String> = playing.filter_map(std::future::ready).collect().await;
    if !bad.is_empty() {
        // What shows it is not to be lost with the folder.
        panic!("see {}:\n{}", out.keep().display(), bad.join("\n"));
    }
}
