//! The command, as someone runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use benches::figures::Figures;
use benches::run::RECORDS;
use benches::topics;
use comparisons::results::Results;

/// The exit code, and all that was printed.
fn run(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_benches")).args(args).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
}

#[test]
fn help_says_what_there_is_to_do_and_how_to_read_what_comes_of_it() {
    let (code, printed) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in
        ["bars", "list", "criterion", "profile", "page", "publish", "make bench", "target/bench/report.html"]
    {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    let (code, printed) = run(&["bars", "--help"]);
    assert!(code == 0 && printed.contains("control") && printed.contains("Ends with 0"), "{printed}");
}

#[test]
fn every_topic_is_listed_with_its_bars() {
    let (code, printed) = run(&["list"]);
    assert_eq!(code, 0);
    for topic in topics::all() {
        assert!(printed.lines().any(|line| line == topic.name()), "{}: {printed}", topic.name());
        for bar in topic.bars() {
            assert!(
                printed.contains(&format!("  {}: {}", bar.name(), bar.bound)),
                "{}: {printed}",
                bar.name()
            );
        }
    }
}

#[test]
fn an_unknown_topic_is_refused_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (code, printed) = run(&["bars", "--only", "no-such-topic", "--out", out.to_str().unwrap()]);
    assert!(code == 2 && printed.contains("no topic \"no-such-topic\"; there are"), "{printed}");
    assert!(topics::all().iter().all(|topic| printed.contains(topic.name())), "{printed}");
    assert!(!out.exists(), "nothing is begun");
}

#[test]
fn without_perf_there_is_no_profile_and_it_is_told_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let mut profile = Command::new(env!("CARGO_BIN_EXE_benches"));
    profile.args(["profile", "pick-alone", "--seconds", "1", "--out"]).arg(folder.path()).env("PATH", "");
    let output = profile.output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && printed.contains("linux-perf"), "{printed}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is kept");
}

#[test]
fn each_start_is_a_process_of_its_own_and_what_all_of_them_saw_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed) =
        run(&["bars", "--quick", "--only", "fan-out", "--out", folder.path().to_str().unwrap()]);
    assert!(code == 0 && printed.contains("fan-out: "), "{printed}");
    let kept = Results::read(&folder.path().join(RECORDS)).unwrap();
    assert_eq!(kept.done.iter().filter(|done| done.complete).count(), 4);
    // Three arms in two rounds of each start.
    assert_eq!(kept.of("fan-out").all().filter(|record| record.is_run()).count(), 24);
}

#[test]
fn a_start_that_nobody_waits_for_any_more_ends() {
    let mut step = Command::new(env!("CARGO_BIN_EXE_benches"));
    step.args(["step", "--topic", "call-tail", "--step", "1", "--seed", "8", "--disk", "/tmp"]);
    step.args(["--etcd-program", "etcd", "--redis-program", "redis-server"]);
    let output = step.stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0));
}

/// In the place of cargo: leaves out what the variable of the test names, as benchmarks do.
const CARGO: &str = "\
#!/bin/sh
[ -z \"$LEAVE_OUT\" ] || echo \"{\\\"what\\\":\\\"$LEAVE_OUT\\\",\\\"why\\\":\\\"it is not installed\\\"}\" >> \"$BENCHES_LEFT_OUT\"
";

#[test]
fn what_criterion_left_out_or_was_not_asked_for_is_kept_and_a_run_that_left_something_out_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let out = folder.path().join("out");
    let criterion = |leave_out: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
        command.args(["criterion", "--out"]).arg(&out).arg("--").args(arguments);
        let output = command.env("CARGO", &cargo).env("LEAVE_OUT", leave_out).output().unwrap();
        let kept = Figures::read(&out).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), kept)
    };
    let (code, printed, kept) = criterion("etcd", &["pick"]);
    assert!(code == Some(1) && printed.contains("left out etcd: it is not installed"), "{printed}");
    assert_eq!((kept.arguments, kept.left_out.len()), (vec!["pick".to_owned()], 1));
    let (code, printed, kept) = criterion("", &[]);
    assert_eq!((code, printed.as_str()), (Some(0), ""));
    assert!(kept.lacks().is_empty(), "what an earlier run left out is not told of this one: {kept:?}");
}

#[test]
fn what_is_not_fit_is_not_published_and_the_documents_stay() {
    let readme = || fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (folder, before) = (tempfile::tempdir().unwrap(), readme());
    let (code, printed) = run(&["publish", "--partial", folder.path().to_str().unwrap()]);
    assert!(code == 2 && printed.contains("is not to be published: it does not say on what"), "{printed}");
    assert!(readme() == before);
}

#[test]
fn a_page_of_an_empty_folder_says_that_nothing_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let none = at("none");
    let (code, printed) =
        run(&["page", folder.path().to_str().unwrap(), "--criterion", none.to_str().unwrap()]);
    assert!(code == 0 && printed.contains("report.html"), "{printed}");
    assert!(fs::read_to_string(at("report.html")).unwrap().contains("Nothing has been measured yet."));
    let summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["criterion"]["figures"], serde_json::json!([]));
    fs::write(at("bars.jsonl"), "{}\n").unwrap();
    let (code, printed) = run(&["page", folder.path().to_str().unwrap()]);
    assert!(code == 2 && printed.contains("bars.jsonl, line 1"), "{printed}");
}
