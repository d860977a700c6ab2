//! The whole story, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used)] // The helpers of tests fail as tests do.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "redis")]
mod redis;

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use registry_testing::servers::ports::Port;
use registry_testing::servers::until;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

fn arguments(registry: &str) -> Arguments {
    Arguments::parse_from(["quickstart", "--registry", registry])
}

/// The story is good, and nothing of it is left.
async fn story(url: &str) {
    let verdict = run(&arguments(url)).await.unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    let registry = service_registry::connect(url).await.unwrap();
    assert_eq!(registry.services("").await.unwrap(), []);
}

/// Nobody is there: an error within seconds, without the password.
async fn nobody_at(scheme: &str) {
    let gone = Port::free().unwrap();
    let begun = Instant::now();
    let error = run(&arguments(&format!("{scheme}://root:secret@{}", gone.address()))).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let error = error.to_string();
    assert!(error.contains(&format!("{scheme}://root:…@{} cannot be used", gone.address())), "{error}");
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

/// The files of a certificate for `localhost` and of its key, in a folder that is removed with what is returned.
fn certificate() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let CertifiedKey { cert: certificate, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    (folder, cert, key)
}
