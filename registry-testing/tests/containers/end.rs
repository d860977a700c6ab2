//! That nothing is left, however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use registry_testing::servers::containers::{ContainerOptions, EtcdContainer};
use registry_testing::servers::until;
use testcontainers::bollard::query_parameters::ListContainersOptionsBuilder;
use testcontainers::core::client::docker_client_instance;

const SOON: Duration = Duration::from_secs(10);
const TO_BE_KILLED: &str = "REGISTRY_TESTING_TO_BE_KILLED";
const HELPER: &str = "end::starts_a_container_and_waits_to_be_killed";

/// Name and command of every container.
async fn listed() -> Vec<String> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let docker = docker_client_instance().await.unwrap();
    let all = docker.list_containers(Some(options)).await.unwrap();
    all.into_iter().map(|container| format!("{:?} {:?}", container.names, container.command)).collect()
}

async fn exists(name: &str) -> bool {
    listed().await.iter().any(|container| container.contains(name))
}

async fn start() -> EtcdContainer {
    EtcdContainer::start(ContainerOptions::etcd()).await.unwrap()
}

#[tokio::test]
async fn after_a_drop_no_container_is_left() {
    let etcd = start().await;
    let name = etcd.container().name();
    assert!(exists(&name).await);
    drop(etcd);
    assert!(!exists(&name).await);
}

#[tokio::test]
async fn after_a_panic_no_container_is_left() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async {
        let etcd = start().await;
        tell.send(etcd.container().name()).unwrap();
        panic!("this panic is part of the test");
    });
    let name = told.await.unwrap();
    assert!(test.await.unwrap_err().is_panic());
    assert!(!exists(&name).await);
}

#[test]
fn a_container_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let etcd = runtime().block_on(start());
    let name = etcd.container().name();
    runtime().block_on(async { etcd.container().restart().await.unwrap() });
    drop(etcd);
    assert!(!runtime().block_on(exists(&name)));
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_container() {
    // Waits for a second member, so that it never gets ready.
    let alone = "--initial-cluster=one=http://localhost:2380,two=http://localhost:2382";
    let there = || async { listed().await.iter().any(|container| container.contains(alone)) };
    {
        let start = EtcdContainer::start(ContainerOptions::etcd().with_args([alone]));
        let begun = until("the container is there", SOON, || async { there().await.then_some(()) });
        tokio::select! {
            begun = begun => begun.unwrap(),
            outcome = start => panic!("{outcome:?}"),
        }
    }
    assert!(!there().await);
}

/// Not a test: what the next ones run.
#[tokio::test]
#[ignore = "is run by other tests, in a process of its own"]
async fn starts_a_container_and_waits_to_be_killed() {
    assert!(std::env::var_os(TO_BE_KILLED).is_some(), "this is for another test to run");
    let etcd = start().await;
    println!("name={}.", etcd.container().name());
    std::future::pending::<()>().await;
}

fn helper() -> Command {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", HELPER, "--ignored", "--nocapture"]).env(TO_BE_KILLED, "1");
    test
}

#[tokio::test]
async fn a_test_process_that_is_killed_leaves_no_container() {
    let mut test = helper().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let name = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("name=")?;
        Some(rest.trim_end_matches('.').to_owned())
    });
    let name = name.expect("the other process started a container");
    assert!(exists(&name).await);
    test.kill().unwrap();
    test.wait().unwrap();
    let gone = until("the container is gone", SOON, || async { (!exists(&name).await).then_some(()) });
    gone.await.unwrap();
}

#[test]
fn an_engine_that_does_not_answer_is_an_error_that_says_what_to_do() {
    let output = helper().env("DOCKER_HOST", "unix:///nowhere/docker.sock").output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Docker engine") && told.contains("DOCKER_HOST"), "{told}");
}
