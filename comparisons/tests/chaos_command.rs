//! `comparisons chaos`, as someone runs it: what is kept, what is played again, and what is left when it is ended in the worst way.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use comparisons::chaos::record::{FILE, Record};
use comparisons::chaos::result::Outcome;
use registry_testing::servers::until;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(120);

fn chaos(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comparisons"));
    // What a cell comes to on a busy machine is not tested here.
    command.args(["chaos", "--late-ms", "60000", "--out"]).arg(out).args(args);
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn ended(child: Child) -> (ExitStatus, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&printed).into_owned())
}

async fn run(mut command: Command) -> (Option<i32>, String) {
    let (status, printed) = ended(command.spawn().unwrap()).await;
    (status.code(), printed)
}

/// Whether it ended by itself, with whatever verdicts.
fn is_over(code: Option<i32>) -> bool {
    matches!(code, Some(0 | 1))
}

fn record(out: &Path) -> Record {
    Record::read(&out.join(FILE)).unwrap()
}

/// A process, with what it was started with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Running {
    pid: u32,
    words: Vec<String>,
}

impl Running {
    /// Those that were started by `parent`, or by one of those.
    fn below(parent: u32) -> BTreeSet<Self> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let parents: Vec<(u32, u32)> =
            pids.into_iter().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
        let mut found = BTreeSet::from([parent]);
        loop {
            let more = parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid);
            let more: BTreeSet<u32> = more.chain(found.iter().copied()).collect();
            if more.len() == found.len() {
                break;
            }
            found = more;
        }
        found.remove(&parent);
        found.into_iter().map(|pid| Self { pid, words: words(pid) }).collect()
    }

    fn is_worker(&self) -> bool {
        self.words.iter().any(|word| word == "chaos-worker")
    }

    fn is_server(&self) -> bool {
        !self.is_watchdog() && self.words.iter().any(|word| word.ends_with("redis-server"))
    }

    /// A shell that ends a server, or removes a folder, when the run has died.
    fn is_watchdog(&self) -> bool {
        self.words.first().is_some_and(|program| program == "sh")
    }

    /// The watchdogs of folders; they are nobody's children, so that they outlive whoever started them.
    fn watchdogs_of(folders: &BTreeSet<PathBuf>) -> BTreeSet<Self> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let all = pids.map(|pid| Self { pid, words: words(pid) });
        all.filter(|one| one.is_watchdog() && one.folders().any(|folder| folders.contains(&folder))).collect()
    }

    fn is_there(&self) -> bool {
        words(self.pid) == self.words && !self.words.is_empty()
    }

    fn kill(&self) {
        let _ = kill_process(Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap(), Signal::KILL);
    }

    /// The folders of servers that it names.
    fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.words.iter().filter_map(|word| {
            let from =
                word.find("/dev/shm/registry-server-").or_else(|| word.find("/tmp/registry-server-"))?;
            let path = Path::new(&word[from..]);
            let depth = path
                .components()
                .position(|part| part.as_os_str().to_string_lossy().starts_with("registry-server-"))?;
            Some(path.components().take(depth + 1).collect())
        })
    }
}

fn words(pid: u32) -> Vec<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).split_terminator('\0').map(str::to_owned).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: the state, then the parent.
    stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A run of one cell on Redis, in the middle of it: with its server, its clients, and the folders of both.
async fn in_the_middle(child: &Child) -> (BTreeSet<Running>, BTreeSet<PathBuf>) {
    let pid = child.id().unwrap();
    let all = until("the cell is played", PATIENCE, || async {
        let all = Running::below(pid);
        let workers = all.iter().filter(|one| one.is_worker()).count();
        (workers >= 3 && all.iter().any(Running::is_server)).then_some(all)
    });
    let all = all.await.unwrap();
    let folders: BTreeSet<PathBuf> = all.iter().flat_map(Running::folders).collect();
    assert!(!folders.is_empty(), "no server names its folder: {all:?}");
    let watchdogs = Running::watchdogs_of(&folders);
    assert!(!watchdogs.is_empty(), "nobody watches over {folders:?}");
    (all.into_iter().chain(watchdogs).collect(), folders)
}

async fn all_gone(processes: &BTreeSet<Running>, folders: &BTreeSet<PathBuf>) {
    let gone = until("nothing is left", PATIENCE, || async {
        let alive = processes.iter().any(Running::is_there);
        (!alive && !folders.iter().any(|folder| folder.exists())).then_some(())
    });
    gone.await.unwrap();
}

const ONE: [&str; 4] = ["--backend", "redis", "--fault", "link-cut"];

#[tokio::test]
async fn what_is_there_is_not_played_again_and_the_report_is_made_of_it() {
    let out = tempfile::tempdir().unwrap();
    let memory = ["--backend", "memory", "--fault", "none,wipe"];
    let (code, printed) = run(chaos(out.path(), &memory)).await;
    assert!(is_over(code), "{printed}");
    let first = record(out.path());
    assert_eq!((first.cells.len(), first.goes.len()), (2, 1));
    let page = fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("memory under wipe, seed 1"));

    let (code, printed) = run(chaos(out.path(), &[&memory[..], &["--seeds", "2"]].concat())).await;
    assert!(is_over(code) && printed.contains("4 cells, 2 of them in"), "{printed}");
    let both = record(out.path());
    assert_eq!(both.cells.len(), 4);
    assert!(first.cells.iter().all(|(cell, played)| both.cells[cell].result == played.result));

    // As if other code had played it.
    let text = fs::read_to_string(out.path().join(FILE)).unwrap().replace("\"code\":\"", "\"code\":\"other");
    fs::write(out.path().join(FILE), text).unwrap();
    let seed = [&memory[..2], &["--fault", "none"]].concat();
    let (code, printed) = run(chaos(out.path(), &[&seed[..], &["--any-code"]].concat())).await;
    assert!(is_over(code) && printed.contains("1 cells, 1 of them in"), "{printed}");
    let (code, printed) = run(chaos(out.path(), &seed)).await;
    assert!(
        is_over(code) && printed.contains("4 cells in") && printed.contains("played by other code"),
        "{printed}"
    );
}

#[tokio::test]
async fn what_does_not_fit_into_the_time_is_not_begun_and_told() {
    let out = tempfile::tempdir().unwrap();
    let (code, printed) =
        run(chaos(out.path(), &["--backend", "memory", "--quick", "--minutes", "0.1"])).await;
    assert!(code == Some(1) && printed.contains("were not begun, since the time was over"), "{printed}");
    assert!(record(out.path()).cells.is_empty());
}

#[tokio::test]
async fn wrong_options_are_refused_with_what_is_right() {
    let out = tempfile::tempdir().unwrap();
    let (code, printed) = run(chaos(out.path(), &["--backend", "memory", "--fault", "leader-kill"])).await;
    assert!(code == Some(2) && printed.contains("none of these faults applies"), "{printed}");
    fs::write(out.path().join(FILE), "{\"cell\":1}\n").unwrap();
    let (code, printed) = run(chaos(out.path(), &ONE)).await;
    assert!(code == Some(2) && printed.contains("line 1: it is of an earlier program"), "{printed}");
}

#[tokio::test]
async fn an_interrupted_run_leaves_nothing_and_goes_on_from_there() {
    let out = tempfile::tempdir().unwrap();
    let child = chaos(out.path(), &ONE).spawn().unwrap();
    let (processes, folders) = in_the_middle(&child).await;
    // As a terminal does: to all that it has started, too.
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process_group(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    let (status, printed) = ended(child).await;
    assert_eq!(status.code(), Some(130), "{printed}");
    assert!(printed.contains("1 cells were broken off"), "{printed}");
    all_gone(&processes, &folders).await;
    assert!(record(out.path()).cells.is_empty());
}

#[tokio::test]
async fn a_run_that_is_killed_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let mut child = chaos(out.path(), &ONE).spawn().unwrap();
    let (processes, folders) = in_the_middle(&child).await;
    child.kill().await.unwrap();
    all_gone(&processes, &folders).await;
}

#[tokio::test]
async fn what_is_left_when_the_watchdogs_are_killed_too_is_cleaned_by_the_next_run_which_says_so() {
    let out = tempfile::tempdir().unwrap();
    let mut child = chaos(out.path(), &ONE).spawn().unwrap();
    let (processes, folders) = in_the_middle(&child).await;
    processes.iter().filter(|one| one.is_watchdog()).for_each(Running::kill);
    child.kill().await.unwrap();
    let server = processes.iter().find(|one| one.is_server()).unwrap();
    let left = folders
        .iter()
        .find(|folder| server.words.iter().any(|word| word.contains(&folder.display().to_string())));
    let left = left.unwrap();
    assert!(left.exists(), "nothing was left, so nothing is shown");
    // The next run leaves alone what is younger than a minute.
    let old = std::process::Command::new("touch").args(["-d", "5 minutes ago"]).arg(left).status();
    assert!(old.unwrap().success());
    let (code, printed) = run(chaos(out.path(), &["--backend", "memory", "--fault", "none"])).await;
    assert!(is_over(code), "{printed}");
    assert!(printed.contains(&format!("cleaned: removed {}", left.display())), "{printed}");
    let alone: BTreeSet<PathBuf> = BTreeSet::from([left.clone()]);
    all_gone(&processes, &alone).await;
    folders.iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
}

#[tokio::test]
async fn a_cell_whose_client_is_killed_broke_off_and_has_no_verdict() {
    let out = tempfile::tempdir().unwrap();
    let child = chaos(out.path(), &ONE).spawn().unwrap();
    let (processes, folders) = in_the_middle(&child).await;
    processes.iter().find(|one| one.is_worker()).unwrap().kill();
    let (status, printed) = ended(child).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    let record = record(out.path());
    let outcomes: Vec<&Outcome> = record.results().map(|result| &result.outcome).collect();
    assert!(
        matches!(outcomes[..], [Outcome::Failed { why }] if why.contains("a worker died")),
        "{outcomes:?}"
    );
    all_gone(&processes, &folders).await;
}
