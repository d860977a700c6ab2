//! How a channel reaches its endpoints: TLS, and ways of one's own.
#![cfg(all(feature = "tls", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use registry_core::{Directory, Endpoint, Instance, Tls};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder, Connect, Stream};
use support::authority::Authority;
use support::listed::list;
use support::{Named, PATIENCE, SERVICE, call, service, settled, shared};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_secs(1))
}

/// A server that speaks TLS, and demands a certificate of its clients; its endpoint says `grpcs`.
async fn secure(registry: &MemoryRegistry, authority: &Authority) -> tokio::task::JoinHandle<()> {
    let (certificate, key) = authority.signs("echo.internal", ExtendedKeyUsagePurpose::ServerAuth);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(&authority.pem));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let echo = support::echo::echo_server::EchoServer::new(Named::new("secure"));
    let router = Server::builder().tls_config(tls).unwrap().add_service(echo);
    let task = tokio::spawn(async move { drop(router.serve_with_incoming(incoming).await) });
    list(registry, Instance::builder(SERVICE).endpoint(format!("grpcs://{address}"))).await;
    task
}

#[tokio::test]
async fn tls_is_spoken_with_who_proves_its_name_and_asks_for_ours() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let _server = secure(&registry, &authority).await;
    let (certificate, key) = authority.signs("client", ExtendedKeyUsagePurpose::ClientAuth);
    let tls = Tls::new().with_ca(authority.pem.as_str()).with_server_name("echo.internal");
    let channel = builder(&registry).tls(tls.clone().with_identity(certificate, key)).build();
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "secure");

    let plain = builder(&registry).build();
    let why = call(&plain, 0).await.unwrap_err();
    assert!(why.message().contains("1 instance with gRPC over TLS alone"), "{why:?}");
}

#[tokio::test]
async fn who_is_not_to_be_trusted_is_not_called_and_the_reason_is_told() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let _server = secure(&registry, &authority).await;
    let stranger = Tls::new().with_ca(Authority::new().pem).with_server_name("echo.internal");
    let other_name = Tls::new().with_ca(authority.pem.as_str()).with_server_name("other.internal");
    let unreadable = Tls::new().with_ca("no certificate").with_server_name("echo.internal");
    for (tls, reason) in [
        (stranger, "invalid peer certificate"),
        (other_name, "echo.internal"),
        (unreadable, "holds no certificate"),
    ] {
        let why = call(&builder(&registry).tls(tls).build(), 0).await.unwrap_err();
        assert!(why.message().contains("TLS: ") && why.message().contains(reason), "{reason}: {why:?}");
    }
}

/// Reaches every endpoint by a socket in a folder, named after its port.
struct ByPort(PathBuf);

#[tonic::async_trait]
impl Connect for ByPort {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(UnixStream::connect(self.0.join(endpoint.port().to_string())).await?))
    }
}

#[tokio::test]
async fn a_connector_of_ones_own_decides_how_each_endpoint_is_reached() {
    let (registry, folder) = (MemoryRegistry::new(), tempfile::tempdir().unwrap());
    let mut tasks = Vec::new();
    for (port, name) in [("1", "one"), ("2", "two")] {
        let listener = UnixListener::bind(folder.path().join(port)).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let router = Named::new(name).router();
        tasks.push(tokio::spawn(async move { drop(router.serve_with_incoming(incoming).await) }));
        list(&registry, Instance::builder(SERVICE).id(name).endpoint(format!("unix.invalid:{port}"))).await;
    }
    let channel = builder(&registry).connector(ByPort(folder.path().to_owned())).build();
    settled(&channel, 2).await;
    let mut called = std::collections::BTreeSet::new();
    for _ in 0..50 {
        called.insert(call(&channel, 0).await.unwrap());
    }
    assert_eq!(called.into_iter().collect::<Vec<_>>(), ["one", "two"]);
}

/// Reaches nobody and does not say so; counts who asked.
#[derive(Clone, Default)]
struct Nowhere(Arc<AtomicUsize>);

#[tonic::async_trait]
impl Connect for Nowhere {
    async fn connect(&self, _: &Endpoint) -> io::Result<Box<dyn Stream>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn many_endpoints_are_connected_to_in_turn_and_who_is_silent_keeps_the_next_waiting_for_a_second() {
    let (registry, nowhere) = (MemoryRegistry::new(), Nowhere::default());
    for port in 1..=100 {
        list(&registry, Instance::builder(SERVICE).endpoint(format!("nowhere.invalid:{port}"))).await;
    }
    let channel = builder(&registry).connect_timeout(Duration::MAX).connector(nowhere.clone()).build();
    channel.wait_until(PATIENCE, |all| all.len() == 100).await.unwrap();
    let asked = || nowhere.0.load(Ordering::SeqCst);
    for (after_ms, expected) in [(900, 64), (200, 100)] {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        assert_eq!(asked(), expected);
    }
}
