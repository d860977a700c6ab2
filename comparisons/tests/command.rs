//! The command, as someone runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use comparisons::record::Record;
use comparisons::results::Results;
use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::redis::{Redis, RedisOptions, Reply};
use registry_testing::servers::until;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(120);

fn claims(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comparisons"));
    command.args(["claims", "--quick", "--out"]).arg(out).args(args);
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The exit code, and all that was printed.
async fn run(mut command: Command) -> (i32, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
}

#[tokio::test]
async fn what_is_done_is_not_done_again_and_the_report_is_made_of_it() {
    let out = tempfile::tempdir().unwrap();
    let (code, printed) = run(claims(out.path(), &["--only", "1c"])).await;
    assert_eq!(code, 0, "{printed}");
    let file = out.path().join("results.jsonl");
    let results = Results::read(&file).unwrap();
    assert!(!results.records.is_empty() && results.done.iter().all(|done| done.experiment == "1c"));
    assert!(fs::read_to_string(out.path().join("report.html")).unwrap().contains("1c"));

    // As if it had been interrupted before the last step.
    let mut interrupted = results.clone();
    let last = interrupted.done.pop().unwrap();
    interrupted.records.retain(|record| record.step != last.step);
    interrupted.write(&file).unwrap();
    let (code, printed) = run(claims(out.path(), &["--only", "1c"])).await;
    assert!(code == 0 && printed.contains("1 steps"), "{printed}");
    let (code, printed) = run(claims(out.path(), &["--only", "1c"])).await;
    assert!(code == 0 && printed.contains("already"), "{printed}");
    let again = Results::read(&file).unwrap();
    assert_eq!(again.done.len(), results.done.len());

    assert!(again.again.is_empty(), "nothing was replaced");

    let (code, printed) = run(claims(out.path(), &["--only", "1c", "--again"])).await;
    assert_eq!(code, 0, "{printed}");
    let again = Results::read(&file).unwrap().again;
    let runs = results.records.iter().filter(|record| record.is_run()).count();
    assert!(again.len() == 1 && again[0].experiment == "1c" && again[0].runs == runs, "{again:?}");
    assert!(fs::read_to_string(out.path().join("report.html")).unwrap().contains("measured again"));

    let (code, printed) = run(claims(out.path(), &["--only", "1c", "--seed", "2"])).await;
    assert!(code == 2 && printed.contains("seed 1 there, 2 here"), "{printed}");
}

#[tokio::test]
async fn wrong_options_are_refused_with_what_is_right() {
    let out = tempfile::tempdir().unwrap();
    let (code, printed) = run(claims(out.path(), &["--only", "9z"])).await;
    assert!(code == 2 && printed.contains("3a"), "{printed}");
    let (code, printed) = run(claims(out.path(), &["--etcd", "etcd://127.0.0.1"])).await;
    assert!(code == 2 && printed.contains("--redis"), "{printed}");
    let missing = ["--only", "1c", "--etcd-program", "/nowhere/etcd"];
    let (code, printed) = run(claims(out.path(), &missing)).await;
    assert!(code == 2 && printed.contains("/nowhere/etcd is missing"), "{printed}");
}

#[tokio::test]
async fn what_cannot_be_used_is_told_with_its_name() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("results.jsonl");
    fs::write(&file, "{}\n").unwrap();
    let (code, printed) = run(claims(out.path(), &["--only", "1c"])).await;
    assert!(code == 2 && printed.contains("results.jsonl, line 1"), "{printed}");
    let (code, printed) = run(claims(&file, &["--only", "1c"])).await;
    assert!(code == 2 && printed.contains("--out") && printed.contains("results.jsonl"), "{printed}");
    let (code, printed) = run(claims(&out.path().join("new"), &["--only", "1c", "--data", "/nowhere"])).await;
    assert!(code == 2 && printed.contains("--data /nowhere"), "{printed}");
}

/// As a terminal does: to all that it has started, too.
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process_group(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
}

async fn ended(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn an_interrupted_run_leaves_no_process_behind() {
    let out = tempfile::tempdir().unwrap();
    let child = claims(out.path(), &["--only", "4a"]).spawn().unwrap();
    let pid = child.id().unwrap();
    let servers = until("servers run", PATIENCE, || async {
        let children = children_of(pid);
        (children.len() >= 3).then_some(children)
    });
    let servers = servers.await.unwrap();
    interrupt(&child);
    let (code, printed) = ended(child).await;
    assert_eq!(code, Some(130), "{printed}");
    let gone = until("they are gone", PATIENCE, || async {
        servers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    gone.await.unwrap();
}

fn children_of(parent: u32) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold anything: the state, then the parent.
        let after = stat.rsplit_once(") ").map(|(_, after)| after.to_owned()).unwrap_or_default();
        after.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

/// An etcd and a Redis with a key each.
struct Theirs {
    etcd: Etcd,
    redis: Redis,
}

impl Theirs {
    async fn start() -> Self {
        let (etcd, redis) = (Etcd::start(EtcdOptions::default()), Redis::start(RedisOptions::default()));
        let (etcd, redis) = tokio::join!(etcd, redis);
        let (etcd, redis) = (etcd.unwrap(), redis.unwrap());
        etcd.put("theirs", "1").await.unwrap();
        redis.command(&["SET", "theirs", "1"]).await.unwrap();
        Self { etcd, redis }
    }

    fn claims(&self, out: &Path, only: &str) -> Command {
        let etcd = self.etcd.endpoint().replace("http://", "etcd://");
        claims(out, &["--only", only, "--etcd", &etcd, "--redis", &self.redis.url()])
    }

    /// How many leases there are that would outlive a minute.
    async fn long_leases(&self) -> usize {
        let ask = async |path: &str, what: serde_json::Value| self.etcd.ask(path, what).await.unwrap();
        let listed = ask("/v3/lease/leases", json!({})).await;
        let mut long = 0;
        for lease in listed["leases"].as_array().into_iter().flatten() {
            let asked = ask("/v3/lease/timetolive", json!({ "ID": lease["ID"] })).await;
            let left: i64 = asked["TTL"].as_str().and_then(|left| left.parse().ok()).unwrap_or(0);
            long += usize::from(left > 60);
        }
        long
    }

    /// How many keys there are.
    async fn keys(&self) -> (String, Reply) {
        let all = json!({ "key": "AA==", "range_end": "AA==", "count_only": true });
        let etcd = self.etcd.ask("/v3/kv/range", all).await.unwrap()["count"].as_str().unwrap().to_owned();
        (etcd, self.redis.command(&["DBSIZE"]).await.unwrap())
    }
}

#[tokio::test]
async fn what_does_harm_is_told_as_not_run_on_servers_of_the_reader() {
    let out = tempfile::tempdir().unwrap();
    let theirs = Theirs::start().await;
    let (code, printed) = run(theirs.claims(out.path(), "4a")).await;
    assert!(code == 2 && printed.contains("4a (") && printed.contains("faults"), "{printed}");
    assert!(!out.path().join("report.html").exists());
    let (code, printed) = run(theirs.claims(out.path(), "1b,4a")).await;
    assert!(code == 0 && printed.contains("not run on servers of yours: 4a ("), "{printed}");
}

#[tokio::test]
async fn on_servers_of_the_reader_nothing_is_left() {
    let out = tempfile::tempdir().unwrap();
    let theirs = Theirs::start().await;
    let (code, printed) = run(theirs.claims(out.path(), "1,3c")).await;
    assert_eq!(code, 0, "{printed}");
    let results = Results::read(&out.path().join("results.jsonl")).unwrap();
    for experiment in ["1b", "3c"] {
        let of_it = || results.records.iter().filter(|record| record.experiment == experiment);
        assert!(of_it().count() > 0 && of_it().all(Record::is_valid), "{experiment}: {printed}");
    }
    assert_eq!(theirs.keys().await, ("1".to_owned(), Reply::Number(1)), "{printed}");
    assert_eq!(theirs.long_leases().await, 0, "{printed}");
}

#[tokio::test]
async fn on_servers_of_the_reader_nothing_is_left_after_an_interruption() {
    let out = tempfile::tempdir().unwrap();
    let theirs = Theirs::start().await;
    let child = theirs.claims(out.path(), "3a").spawn().unwrap();
    let begun = until("there are keys on both", PATIENCE, || async {
        let (etcd, redis) = theirs.keys().await;
        (etcd != "1" && redis != Reply::Number(1)).then_some(())
    });
    begun.await.unwrap();
    interrupt(&child);
    let (code, printed) = ended(child).await;
    assert_eq!(code, Some(130), "{printed}");
    assert_eq!(theirs.keys().await, ("1".to_owned(), Reply::Number(1)), "{printed}");
    assert_eq!(theirs.long_leases().await, 0, "{printed}");
}
