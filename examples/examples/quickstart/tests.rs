//! The whole story, on a real etcd.

use std::time::Duration;

use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::ports::Port;
use tokio::time::Instant;

use super::*;

fn arguments(registry: &str) -> Arguments {
    Arguments::parse_from(["quickstart", "--registry", registry])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_etcd_the_story_is_the_same_and_nothing_of_it_is_left() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let url = format!("etcd://{}", etcd.client_address());
    let verdict = run(&arguments(&url)).await.unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    let registry = service_registry::connect(&url).await.unwrap();
    assert_eq!(registry.services("").await.unwrap(), []);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_error_within_seconds() {
    let gone = Port::free().unwrap();
    let begun = Instant::now();
    let error = run(&arguments(&format!("etcd://root:secret@{}", gone.address()))).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let error = error.to_string();
    assert!(error.contains(&format!("etcd://root:…@{} cannot be used", gone.address())), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
