//! Child processes: nothing is left of them, whatever happens to the test.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions};
use registry_testing::servers::ports::Port;
use registry_testing::servers::process::{Folder, Process, Program};
use registry_testing::servers::proxy::{Faults, Outage, Proxy};
use registry_testing::servers::redis::{Redis, RedisOptions};
use registry_testing::servers::{ServerError, until};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{SOON, processes_with, wait_all_gone};

/// Set for the process that is killed.
const TO_BE_KILLED: &str = "REGISTRY_TESTING_TO_BE_KILLED";

fn shell(script: &str) -> Process {
    Process::new(Program::new("sh", "").with_args(["-c", script]), Folder::new(None).unwrap())
}

#[tokio::test]
async fn a_program_that_is_not_installed_is_an_error_that_says_what_to_install() {
    let mut options = EtcdOptions::default();
    options.program = "etcd-that-nobody-has".into();
    let error = Etcd::start(options).await.unwrap_err();
    assert!(matches!(error, ServerError::Missing { .. }));
    assert!(error.to_string().contains("apt-get install etcd-server"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_an_error_that_shows_its_log() {
    let process = shell("echo the reason >&2; exit 3");
    let error = process.start(SOON, || std::future::ready(false)).await.unwrap_err();
    assert!(matches!(error, ServerError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("the reason"), "{error}");
    assert!(error.to_string().contains('3'), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_get_ready_is_killed_and_its_log_shown() {
    let process = shell("echo still thinking; sleep 1000");
    let patience = Duration::from_millis(300);
    let error = process.start(patience, || std::future::ready(false)).await.unwrap_err();
    assert!(matches!(error, ServerError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("still thinking"), "{error}");
    assert!(!process.is_running());
}

#[tokio::test]
async fn a_port_in_use_is_told_from_other_failures() {
    let process = shell("echo 'listen tcp: bind: address already in use'; exit 1");
    let error = process.start(SOON, || std::future::ready(false)).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressInUse { .. }), "{error}");
}

#[tokio::test]
async fn a_held_port_refuses_until_someone_listens_and_is_not_handed_out_twice() {
    let port = Port::free().unwrap();
    assert!(TcpStream::connect(port.address()).await.is_err());
    for _ in 0..3 {
        let listener = TcpListener::bind(port.address()).await.unwrap();
        let client = TcpStream::connect(port.address()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        drop((listener, client, served));
        // A child process that another test is just starting may hold a copy of the listener for a moment.
        let refused = || async { TcpStream::connect(port.address()).await.is_err().then_some(()) };
        until("it refuses again", SOON, refused).await.unwrap();
    }
    let others: Vec<_> = (0..500).map(|_| Port::free().unwrap()).collect();
    assert!(others.iter().all(|other| other.number() != port.number()));
}

#[tokio::test]
async fn terminate_lets_the_program_finish_and_kill_does_not() {
    let process = shell("trap 'echo finished; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    let up = || std::future::ready(process.log_tail().ends_with("up"));
    process.start(SOON, up).await.unwrap();
    process.terminate(SOON).await.unwrap();
    assert!(process.log_tail().ends_with("finished"));
    process.start(SOON, up).await.unwrap();
    process.kill().await.unwrap();
    assert!(process.log_tail().ends_with("up"));
}

#[tokio::test]
async fn a_paused_process_stands_still_and_can_be_killed() {
    let process = shell("while :; do echo tick; sleep 0.002; done");
    let ticks = || process.log_tail();
    process.start(SOON, || std::future::ready(ticks().contains("tick"))).await.unwrap();
    process.pause().await.unwrap();
    let paused = std::fs::metadata(process.folder().log()).unwrap().len();
    // Not a wait for something: nothing must happen in it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(std::fs::metadata(process.folder().log()).unwrap().len(), paused);
    process.resume().await.unwrap();
    crate::support::wait_for("it ticks again", || {
        std::fs::metadata(process.folder().log()).unwrap().len() > paused
    })
    .await;
    process.pause().await.unwrap();
    process.kill().await.unwrap();
    assert!(!process.is_running());
}

#[tokio::test]
async fn after_a_drop_neither_process_nor_data_is_left() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let folder = etcd.process().folder().path().to_owned();
    assert!(!processes_with(&folder.display().to_string()).is_empty());
    drop(etcd);
    wait_all_gone(&folder).await;
}

#[tokio::test]
async fn after_a_panic_neither_process_nor_data_is_left() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        tell.send(etcd.process().folder().path().to_owned()).unwrap();
        panic!("this panic is part of the test");
    });
    let folder = told.await.unwrap();
    assert!(test.await.unwrap_err().is_panic());
    wait_all_gone(&folder).await;
}

/// Not a test: what the next one kills.
#[tokio::test]
#[ignore = "is run by the two that end it"]
async fn starts_a_server_and_waits_to_be_killed() {
    assert!(std::env::var_os(TO_BE_KILLED).is_some(), "this is for another test to run");
    // It outlives a hang-up, unlike etcd.
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    println!("folder={}", redis.process().folder().path().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_test_process_that_is_killed_leaves_nothing() {
    leaves_nothing(|test| test.kill().unwrap()).await;
}

#[tokio::test]
async fn a_test_process_whose_terminal_is_closed_leaves_nothing() {
    leaves_nothing(|test| {
        let group = Pid::from_raw(test.id().try_into().unwrap()).unwrap();
        kill_process_group(group, Signal::HUP).unwrap();
    })
    .await;
}

async fn leaves_nothing(end: impl FnOnce(&mut Child)) {
    // Whoever runs this may have chosen to outlive its terminal, and that is inherited.
    let mut test = Command::new("env");
    test.arg("--default-signal=HUP").arg(std::env::current_exe().unwrap());
    test.args(["--exact", "process::starts_a_server_and_waits_to_be_killed", "--ignored", "--nocapture"]);
    test.process_group(0).env(TO_BE_KILLED, "1").stdout(Stdio::piped());
    let mut test = test.spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let folder =
        lines.find_map(|line| line.unwrap().split_once("folder=").map(|(_, path)| PathBuf::from(path)));
    let folder = folder.expect("the other process started a server");
    assert!(!processes_with(&folder.display().to_string()).is_empty());
    end(&mut test);
    test.wait().unwrap();
    wait_all_gone(&folder).await;
}

/// Test harnesses call the controls from tasks and from boxed futures.
#[test]
fn futures_can_be_sent() {
    fn sent(_: impl Send) {}
    fn cluster(cluster: &EtcdCluster) {
        sent(cluster.wait_new_leader(0));
        sent(cluster.restart());
        sent(cluster.wipe());
        sent(cluster.save());
        sent(cluster.enable_auth(""));
        sent(cluster.member(0).restart());
        sent(cluster.member(0).wait_serving(SOON));
    }
    fn redis(redis: &Redis) {
        sent(redis.restart());
        sent(redis.command(&["PING"]));
    }
    fn proxy(proxy: &Proxy) {
        sent(proxy.set(Faults::default()));
        sent(proxy.reset());
        sent(proxy.flap(Outage::Refuse, 1, SOON, SOON));
    }
    sent(EtcdCluster::start(3, EtcdOptions::default()));
    let _ = (cluster, redis, proxy);
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let process = std::thread::spawn(|| {
        let process = shell("sleep 1000");
        process.spawn().unwrap();
        process
    });
    let process = process.join().unwrap();
    assert!(process.is_running());
}
