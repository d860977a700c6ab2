//! The whole story, on a real etcd.
#![allow(clippy::unwrap_used, clippy::expect_used)] // The helpers of tests fail as tests do.

use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use registry_testing::servers::etcd::{ClientTls, Etcd, EtcdOptions};
use registry_testing::servers::ports::Port;
use registry_testing::servers::until;
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

/// Two clients, as two processes would have them, and neither when the registry is taken away.
async fn comes_and_goes(url: &str) {
    let place = Place::open(url).await.unwrap();
    let clients = [place.connect().await.unwrap(), place.connect().await.unwrap()];
    for client in &clients {
        client.lookup(&place.service).await.unwrap();
    }
    place.take_away().await.expect("it can be taken away");
    for client in &clients {
        client.lookup(&place.service).await.unwrap_err();
    }
    place.give_back().await;
    for client in &clients {
        let answers = || async { client.lookup(&place.service).await.ok() };
        until("the registry is back", PATIENCE, answers).await.unwrap();
    }
}

#[tokio::test]
async fn with_its_wires_cut_an_etcd_is_away_from_all_clients_and_then_back() {
    let (etcd, gone) = (Etcd::start(EtcdOptions::default()).await.unwrap(), Port::free().unwrap());
    comes_and_goes(&format!("etcd://{},{}?request-timeout=2s", gone.address(), etcd.client_address())).await;
}

#[tokio::test]
async fn through_wires_certificates_are_still_checked_for_the_name_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let CertifiedKey { cert: certificate, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let tls = ClientTls { cert: cert.clone(), key, client_ca: None };
    let etcd = Etcd::start(EtcdOptions::default().with_client_tls(tls)).await.unwrap();
    let port = etcd.client_address().port();
    comes_and_goes(&format!("etcds://localhost:{port}?ca={}&request-timeout=2s", cert.display())).await;
}
