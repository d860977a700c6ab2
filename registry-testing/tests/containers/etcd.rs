//! One etcd.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use registry_testing::servers::containers::{ContainerOptions, EtcdContainer};
use registry_testing::servers::{ServerError, until};
use testcontainers::bollard::query_parameters::ListImagesOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use tokio::net::TcpStream;

fn value(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

async fn start() -> EtcdContainer {
    EtcdContainer::start(ContainerOptions::etcd()).await.unwrap()
}

/// The local addresses that listen on the port, as the system writes them.
fn listening(address: SocketAddr) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap());
    let port = format!(":{:04X}", address.port());
    let rows = tables.iter().flat_map(|table| table.lines()).map(|row| row.split_whitespace());
    let rows = rows.map(|mut row| (row.nth(1).unwrap().to_owned(), row.nth(1).unwrap().to_owned()));
    rows.filter(|(local, state)| local.ends_with(&port) && state == "0A").map(|(local, _)| local).collect()
}

#[tokio::test]
async fn a_container_that_has_started_serves_and_only_on_this_machine() {
    let etcd = start().await;
    assert!(etcd.control().serves().await);
    TcpStream::connect(etcd.address()).await.unwrap();
    let listening = listening(etcd.address());
    assert!(!listening.is_empty(), "an engine without a proxy of its own would need another test");
    assert!(listening.iter().all(|local| local.starts_with("0100007F:")), "{listening:?}");
}

#[tokio::test]
async fn each_image_that_was_built_runs_and_is_the_version_it_says() {
    let filters = HashMap::from([("reference", vec!["registry-test/etcd"])]);
    let filters = ListImagesOptionsBuilder::new().filters(&filters).build();
    let images = docker_client_instance().await.unwrap().list_images(Some(filters)).await.unwrap();
    assert!(!images.is_empty());
    for image in images.into_iter().flat_map(|image| image.repo_tags) {
        let (_, version) = image.split_once(':').unwrap();
        let etcd = EtcdContainer::start(ContainerOptions::etcd().with_image(&image)).await.unwrap();
        let found = etcd.control().status().await.unwrap().version;
        assert!(found.starts_with(version), "{found} in {image}");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_address_and_the_data() {
    let etcd = start().await;
    let endpoint = etcd.endpoint();
    let revision = etcd.control().put("key", "kept").await.unwrap();
    for _ in 0..2 {
        etcd.container().kill().await.unwrap();
        assert!(TcpStream::connect(etcd.address()).await.is_err());
        etcd.container().restart().await.unwrap();
        assert_eq!(etcd.endpoint(), endpoint);
        assert_eq!(etcd.control().get("key", 0).await.unwrap(), value("kept"));
        assert_eq!(etcd.control().status().await.unwrap().revision, revision);
    }
    etcd.container().restart().await.unwrap();
    assert_eq!(etcd.control().get("key", 0).await.unwrap(), value("kept"), "after one that runs, too");
}

#[tokio::test]
async fn a_wipe_keeps_the_address_and_not_the_data() {
    let etcd = start().await;
    let endpoint = etcd.endpoint();
    etcd.control().put("key", "lost").await.unwrap();
    etcd.container().wipe().await.unwrap();
    assert_eq!(etcd.endpoint(), endpoint);
    assert_eq!(etcd.control().get("key", 0).await.unwrap(), None);
    assert_eq!(etcd.control().status().await.unwrap().revision, 1);
}

#[tokio::test]
async fn a_paused_container_accepts_and_does_not_answer() {
    let etcd = start().await;
    etcd.container().pause().await.unwrap();
    TcpStream::connect(etcd.address()).await.unwrap();
    assert!(matches!(etcd.control().status().await, Err(ServerError::Timeout { .. })));
    etcd.container().resume().await.unwrap();
    let serves =
        until("it serves", Duration::from_secs(10), || async { etcd.control().serves().await.then_some(()) });
    serves.await.unwrap();
    etcd.container().pause().await.unwrap();
    etcd.container().kill().await.unwrap();
    etcd.container().restart().await.unwrap();
}

#[tokio::test]
async fn a_compaction_makes_old_revisions_unreadable() {
    let etcd = start().await;
    let first = etcd.control().put("key", "first").await.unwrap();
    let second = etcd.control().put("key", "second").await.unwrap();
    assert_eq!(etcd.control().compact().await.unwrap(), second);
    let error = etcd.control().get("key", first).await.unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_an_error_with_its_log() {
    let options = ContainerOptions::etcd().with_args(["--no-such-flag"]);
    match EtcdContainer::start(options).await {
        Err(ServerError::Exited { log, .. }) => assert!(log.contains("no-such-flag"), "{log}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_is_an_error_that_says_what_to_do() {
    let options = ContainerOptions::etcd().with_image("registry-test/no-such-image:1");
    match EtcdContainer::start(options).await {
        Err(error @ ServerError::Missing { .. }) => {
            let told = error.to_string();
            assert!(told.contains("registry-test/no-such-image:1") && told.contains("make images"), "{told}");
        }
        other => panic!("{other:?}"),
    }
}
