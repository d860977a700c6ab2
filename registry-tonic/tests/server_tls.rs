//! Servers that speak TLS, by themselves or as tonic does: registered, called, and stopped in order.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::fmt;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use registry_core::{Directory, Instance, Material, Tls};
use registry_memory::MemoryRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_tonic::{Channel, Server, ServerError, ServerTls};
use support::authority::Authority;
use support::echo::echo_server::{Echo, EchoServer};
use support::echo::{Reply, Request};
use support::listed::list;
use support::server::{Running, quick};
use support::{Load, Named, SERVICE, call, client_address, eventually, service, settled, shared, within};
use tempfile::TempDir;
use tonic::transport::server::Router;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Code, Response, Status};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Subscriber, set_global_default};
use tracing::{Event, Level, Metadata};

const NAME: &str = "echo.internal";
const HOUR: Duration = Duration::from_secs(3600);

/// Who speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spoken {
    ByItself,
    ByTonic,
}

const BOTH: [Spoken; 2] = [Spoken::ByItself, Spoken::ByTonic];

/// A server that tells clients to speak TLS, once it is registered.
async fn start(
    registry: &MemoryRegistry,
    authority: &Authority,
    name: &'static str,
    spoken: Spoken,
) -> Running {
    let (certificate, key) = authority.signs(NAME, ServerAuth);
    let builder = quick(shared(registry)).finish_within(HOUR);
    let running = match spoken {
        Spoken::ByItself => {
            Running::start_as(name, builder.tls(ServerTls::new(certificate, key)), Named::router).await
        }
        Spoken::ByTonic => {
            let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
            let router = |named: &Named| -> Router {
                let mut server = tonic::transport::Server::builder().tls_config(tls).unwrap();
                server.add_service(EchoServer::new(named.clone()))
            };
            Running::start_as(name, builder.advertise_protocol("grpcs"), router).await
        }
    };
    running.registered().await;
    running
}

fn tls(authority: &Authority) -> Tls {
    Tls::new().with_ca(authority.pem.as_str()).with_server_name(NAME)
}

fn channel(registry: &MemoryRegistry, tls: Tls) -> Channel {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_millis(300)).tls(tls).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_servers_with_tls_fails_no_call() {
    for spoken in BOTH {
        let (registry, authority) = (MemoryRegistry::new(), Authority::new());
        let mut old = Vec::new();
        for name in ["a", "b"] {
            old.push(start(&registry, &authority, name, spoken).await);
        }
        let channel = channel(&registry, tls(&authority));
        settled(&channel, 2).await;
        let load = Load::start(&channel, 8, 2);
        load.goes_on(200).await;
        let mut new = Vec::new();
        for name in ["c", "d"] {
            let leaving = old.remove(0);
            leaving.handle.shutdown();
            leaving.ended().await.unwrap();
            new.push(start(&registry, &authority, name, spoken).await);
            settled(&channel, 2).await;
            load.goes_on(200).await;
        }
        let tally = load.stop().await;
        let failed = tally.failures.len();
        assert!(tally.failures.is_empty(), "{spoken:?}: {failed} failed, such as {:?}", tally.failures[0]);
        assert_eq!(tally.answers.into_keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn a_call_in_flight_over_tls_is_answered_by_a_server_that_stops() {
    for spoken in BOTH {
        let (registry, authority) = (MemoryRegistry::new(), Authority::new());
        let running = start(&registry, &authority, "a", spoken).await;
        let channel = channel(&registry, tls(&authority));
        settled(&channel, 1).await;
        // Longer than the drain, and than a goodbye.
        let answer = tokio::spawn(async move { call(&channel, 2_500).await });
        eventually("it has begun", || running.named.begun.load(Ordering::SeqCst) == 1).await;
        running.handle.shutdown();
        assert_eq!(within("an answer", answer).await.unwrap().unwrap(), "a", "{spoken:?}");
        running.ended().await.unwrap();
    }
}

#[tokio::test]
async fn who_speaks_no_tls_does_not_keep_it_from_stopping() {
    for spoken in BOTH {
        let (registry, authority) = (MemoryRegistry::new(), Authority::new());
        let running = start(&registry, &authority, "a", spoken).await;
        let silent = tokio::net::TcpStream::connect(running.handle.local_addr()).await.unwrap();
        running.handle.shutdown();
        running.ended().await.unwrap();
        drop(silent);
    }
}

#[tokio::test]
async fn a_client_that_stands_still_does_not_keep_it_from_stopping() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let running = start(&registry, &authority, "a", Spoken::ByItself).await;
    let proxy = Proxy::start(running.handle.local_addr()).unwrap();
    let elsewhere = MemoryRegistry::new();
    list(&elsewhere, Instance::builder(SERVICE).endpoint(format!("grpcs://{}", proxy.address()))).await;
    let channel = channel(&elsewhere, tls(&authority));
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "a");
    proxy.set(Faults::stalled()).await;
    running.handle.shutdown();
    running.ended().await.unwrap();
}

/// Says who calls: the address, and the certificates shown.
#[derive(Clone)]
struct Shown;

#[tonic::async_trait]
impl Echo for Shown {
    async fn call(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        let certificates = request.peer_certs().map_or(0, |shown| shown.len());
        let address = request.remote_addr().map(|address| address.ip().to_string());
        Ok(Response::new(Reply { server: format!("{certificates} from {}", address.unwrap_or_default()) }))
    }

    type StreamStream = Pin<Box<dyn futures_util::Stream<Item = Result<Reply, Status>> + Send>>;

    async fn stream(&self, _: tonic::Request<Request>) -> Result<Response<Self::StreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn who_must_show_a_certificate_is_known_by_it_and_who_has_none_is_turned_away() {
    let (registry, authority) = (MemoryRegistry::new(), Authority::new());
    let (certificate, key) = authority.signs(NAME, ServerAuth);
    let wanted = ServerTls::new(certificate, key).with_client_ca(authority.pem.as_str());
    let router = |_: &Named| tonic::transport::Server::builder().add_service(EchoServer::new(Shown));
    let running = Running::start_as("a", quick(shared(&registry)).tls(wanted), router).await;
    running.registered().await;

    let (certificate, key) = authority.signs("client", ClientAuth);
    let known = channel(&registry, tls(&authority).with_identity(certificate, key));
    settled(&known, 1).await;
    assert_eq!(call(&known, 0).await.unwrap(), "1 from 127.0.0.1");

    let (foreign, key) = Authority::new().signs("client", ClientAuth);
    let tls = tls(&authority);
    for (unknown, why) in [(tls.clone(), "certificaterequired"), (tls.with_identity(foreign, key), "alert")] {
        let status = call(&channel(&registry, unknown), 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().to_lowercase().contains(why), "{status:?}");
    }
}

/// Where a certificate is found, and its key.
struct Files(TempDir);

impl Files {
    fn new((certificate, key): (String, String)) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace((certificate, key));
        files
    }

    fn replace(&self, (certificate, key): (String, String)) {
        fs::write(self.0.path().join("cert.pem"), certificate).unwrap();
        fs::write(self.0.path().join("key.pem"), key).unwrap();
    }

    fn tls(&self) -> ServerTls {
        let file = |name: &str| Material::file(Path::join(self.0.path(), name));
        ServerTls::new(file("cert.pem"), file("key.pem"))
    }
}

/// The warnings of one thread. It listens to all, since `tracing` may never ask a subscriber that is only of a thread, if another thread came to the
/// same place first.
#[derive(Clone)]
struct Warnings {
    of: ThreadId,
    told: Arc<Mutex<Vec<String>>>,
}

impl Visit for Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "wrong" {
            self.told.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if thread::current().id() == self.of {
            event.record(&mut self.clone());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart_and_what_cannot_be_used_changes_nothing() {
    let (registry, authority, other) = (MemoryRegistry::new(), Authority::new(), Authority::new());
    let files = Files::new(authority.signs(NAME, ServerAuth));
    let running = Running::start(quick(shared(&registry)).tls(files.tls())).await;
    running.registered().await;
    let old = channel(&registry, tls(&authority));
    settled(&old, 1).await;
    let before = client_address(&old).await;

    files.replace(("half of a certif".into(), "none".into()));
    let warnings = Warnings { of: thread::current().id(), told: Arc::default() };
    set_global_default(warnings.clone()).expect("the only one of this program");
    for _ in 0..2 {
        // It is read anew after a second: the thing itself.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        for _ in 0..5 {
            let another = channel(&registry, tls(&authority));
            assert_eq!(call(&another, 0).await.unwrap(), "a");
        }
    }
    {
        let warnings = warnings.told.lock().unwrap();
        assert!(matches!(&warnings[..], [one] if one.contains("the certificate")), "{warnings:?}");
    }

    files.replace(other.signs(NAME, ServerAuth));
    let new = channel(&registry, tls(&other));
    settled(&new, 1).await;
    assert_eq!(call(&new, 0).await.unwrap(), "a");
    assert_eq!(client_address(&old).await, before, "connections that are there go on");
}

#[tokio::test]
async fn what_clients_are_told_is_that_it_speaks_tls_unless_it_says_otherwise() {
    let authority = Authority::new();
    let builder = || {
        let (certificate, key) = authority.signs(NAME, ServerAuth);
        quick(shared(&MemoryRegistry::new())).tls(ServerTls::new(certificate, key))
    };
    for (builder, protocol) in [
        (builder(), "grpcs"),
        (builder().advertise("10.0.0.7:443"), "grpcs"),
        (builder().advertise("grpc://10.0.0.7:443"), "grpc"),
        (builder().advertise_protocol("grpc"), "grpc"),
    ] {
        let server = builder.bind().await.unwrap();
        assert_eq!(server.instance().endpoint().protocol(), Some(protocol));
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_told_before_anything_is_served() {
    let authority = Authority::new();
    let (certificate, key) = authority.signs(NAME, ServerAuth);
    let (_, other_key) = authority.signs(NAME, ServerAuth);
    let builder = || quick(shared(&MemoryRegistry::new()));
    for (tls, why) in [
        (ServerTls::new("none", key.as_str()), "the certificate holds no certificate"),
        (ServerTls::new(certificate.as_str(), "none"), "the key of the certificate cannot be used"),
        (ServerTls::new(certificate.as_str(), other_key), "the certificate cannot be used"),
        (ServerTls::new(certificate.as_str(), key.as_str()).with_client_ca("none"), "certificate authority"),
        (ServerTls::new(Material::file("/nowhere/cert.pem"), key.as_str()), "/nowhere/cert.pem"),
    ] {
        let error = builder().tls(tls).bind().await.unwrap_err();
        let ServerError::Invalid(error) = error else { panic!("{error:?}") };
        assert_eq!(error.field(), Some("tls"));
        assert!(error.message().contains(why), "{error}");
    }
    let server: Server = builder().tls(ServerTls::new(certificate, key)).bind().await.unwrap();
    let served = server
        .serve_with(|_, stop| async move {
            stop.await;
            Ok::<_, std::io::Error>(())
        })
        .await;
    assert!(matches!(served, Err(ServerError::Invalid(error)) if error.field() == Some("tls")));
}
