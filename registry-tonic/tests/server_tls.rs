//! A server that speaks TLS: registered, called, and stopped in order.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::sync::atomic::Ordering;

use rcgen::ExtendedKeyUsagePurpose;
use registry_core::{Directory, Tls};
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use support::authority::Authority;
use support::echo::echo_server::EchoServer;
use support::server::{Running, quick};
use support::{Load, Named, call, eventually, service, settled, shared, within};
use tonic::transport::server::Router;
use tonic::transport::{Identity, Server, ServerTlsConfig};

const NAME: &str = "echo.internal";

/// A router that speaks TLS, with a certificate for [`NAME`].
fn secure(authority: &Authority, named: &Named) -> Router {
    let (certificate, key) = authority.signs(NAME, ExtendedKeyUsagePurpose::ServerAuth);
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    Server::builder().tls_config(tls).unwrap().add_service(EchoServer::new(named.clone()))
}

/// A server that tells clients to speak TLS, once it is registered.
async fn start(registry: &MemoryRegistry, authority: &Authority, name: &'static str) -> Running {
    let builder = quick(shared(registry)).advertise_protocol("grpcs");
    let running = Running::start_as(name, builder, |named| secure(authority, named)).await;
    running.registered().await;
    running
}

fn channel(registry: &MemoryRegistry, authority: &Authority) -> Channel {
    let tls = Tls::new().with_ca(authority.pem.as_str()).with_server_name(NAME);
    Channel::builder(Directory::new(shared(registry)).view(&service())).tls(tls).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_servers_with_tls_fails_no_call() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let mut old = vec![start(&registry, &authority, "a").await, start(&registry, &authority, "b").await];
    let channel = channel(&registry, &authority);
    settled(&channel, 2).await;
    let load = Load::start(&channel, 8, 2);
    load.goes_on(200).await;
    let mut new = Vec::new();
    for name in ["c", "d"] {
        let leaving = old.remove(0);
        leaving.handle.shutdown();
        leaving.ended().await.unwrap();
        new.push(start(&registry, &authority, name).await);
        settled(&channel, 2).await;
        load.goes_on(200).await;
    }
    let tally = load.stop().await;
    assert!(tally.failures.is_empty(), "{} failed, such as {:?}", tally.failures.len(), tally.failures[0]);
    assert_eq!(tally.answers.into_keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_call_in_flight_over_tls_is_answered_by_a_server_that_stops() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let running = start(&registry, &authority, "a").await;
    let channel = channel(&registry, &authority);
    settled(&channel, 1).await;
    // Longer than the drain, and than a goodbye.
    let answer = tokio::spawn(async move { call(&channel, 2_500).await });
    eventually("it has begun", || running.named.begun.load(Ordering::SeqCst) == 1).await;
    running.handle.shutdown();
    assert_eq!(within("an answer", answer).await.unwrap().unwrap(), "a");
    running.ended().await.unwrap();
}

#[tokio::test]
async fn who_speaks_no_tls_does_not_keep_it_from_stopping() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let running = start(&registry, &authority, "a").await;
    let silent = tokio::net::TcpStream::connect(running.handle.local_addr()).await.unwrap();
    running.handle.shutdown();
    running.ended().await.unwrap();
    drop(silent);
}
