//! Servers that are not what they should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::{Directory, Endpoint};
use registry_memory::MemoryRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_tonic::{Channel, ChannelBuilder, Connect, Connectivity, Ejection, EndpointStatus, Stream};
use support::echo::echo_client::EchoClient;
use support::echo::echo_server::{Echo, EchoServer};
use support::echo::{Reply, Request};
use support::listed::{Moody, bare, instance_at, list, serve};
use support::{Named, PATIENCE, call, eventually, service, settled, shared, within};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tonic::{Code, Response, Status};

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_secs(1)).slow_start(Duration::ZERO)
}

/// Its handlers panic, or answer with more metadata than a client takes.
#[derive(Clone)]
struct Odd {
    panics: bool,
}

#[tonic::async_trait]
impl Echo for Odd {
    async fn call(&self, _: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        assert!(!self.panics, "of this test");
        let mut response = Response::new(Reply { server: "odd".into() });
        response.metadata_mut().insert("long", "x".repeat(40_000).parse().unwrap());
        Ok(response)
    }

    type StreamStream = <Named as Echo>::StreamStream;

    async fn stream(&self, _: tonic::Request<Request>) -> Result<Response<Self::StreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

async fn one_call_that_breaks_is_no_reason_to_eject(odd: Odd) {
    let registry = MemoryRegistry::new();
    let (a, _a_task) = serve(tonic::transport::Server::builder().add_service(EchoServer::new(odd.clone())));
    let (b, _b_task) = serve(tonic::transport::Server::builder().add_service(EchoServer::new(odd)));
    list(&registry, instance_at(a)).await;
    list(&registry, instance_at(b)).await;
    let channel = builder(&registry).ejection(Ejection::default().with_after(2)).build();
    settled(&channel, 2).await;
    for _ in 0..20 {
        let status = call(&channel, 0).await.unwrap_err();
        assert_ne!(status.code(), Code::Unavailable, "{status:?}");
    }
    let shown = channel.endpoints();
    assert!(shown.iter().all(|one| one.ejections == 0), "{shown:?}");
    assert_eq!(shown.iter().map(|one| one.errors).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_handler_that_panics_is_the_callers_trouble_and_ejects_nobody() {
    one_call_that_breaks_is_no_reason_to_eject(Odd { panics: true }).await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_the_callers_trouble_and_ejects_nobody() {
    one_call_that_breaks_is_no_reason_to_eject(Odd { panics: false }).await;
}

/// Its first connection is through the proxy, all others are not.
struct FirstThrough {
    proxy: std::net::SocketAddr,
    server: std::net::SocketAddr,
    connections: AtomicUsize,
}

#[tonic::async_trait]
impl Connect for FirstThrough {
    async fn connect(&self, _: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
        let first = self.connections.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Box::new(TcpStream::connect(if first { self.proxy } else { self.server }).await?))
    }
}

/// As when a middlebox has forgotten it.
#[tokio::test]
async fn a_connection_that_is_dead_is_replaced_even_if_calls_give_up_before_it_counts_as_silent() {
    let registry = MemoryRegistry::new();
    let (address, _, _task) = bare("a").await;
    let proxy = Proxy::start(address).unwrap();
    list(&registry, instance_at(address)).await;
    let connect = FirstThrough { proxy: proxy.address(), server: address, connections: AtomicUsize::new(0) };
    let channel = builder(&registry).connector(connect).build();
    settled(&channel, 1).await;
    let quick = || {
        let mut request = tonic::Request::new(Request::default());
        request.set_timeout(Duration::from_millis(100));
        let mut client = EchoClient::new(channel.clone());
        async move { client.call(request).await }
    };
    // It has as long as it takes: how soon the first one is answered is not the question.
    call(&channel, 0).await.unwrap();
    proxy.set(Faults::black_hole()).await;
    let cut = tokio::time::Instant::now();
    while quick().await.is_err() {
        assert!(cut.elapsed() < Duration::from_secs(2), "it is still dead");
    }
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_on_a_connection_that_breaks_is_sent_elsewhere() {
    let registry = MemoryRegistry::new();
    let named = Named::new("a");
    let router = tonic::transport::Server::builder()
        .max_concurrent_streams(1)
        .add_service(EchoServer::new(named.clone()));
    let (address, _task) = serve(router);
    let proxy = Proxy::start(address).unwrap();
    list(&registry, instance_at(proxy.address())).await;
    let channel = builder(&registry).silent_after(PATIENCE).build();
    settled(&channel, 1).await;
    call(&channel, 0).await.unwrap();
    let spawn = |after_ms| {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel, after_ms).await })
    };
    let under_way = spawn(60_000);
    eventually("it has begun", || named.begun.load(Ordering::SeqCst) == 2).await;
    // The first of them is held by the connection, the others have not reached it.
    let waiting = [spawn(0), spawn(0), spawn(0)];
    eventually("they wait", || channel.endpoints()[0].in_flight == 4).await;
    proxy.reset().await;
    for call in waiting {
        assert_eq!(within("an answer", call).await.unwrap().unwrap(), "a");
    }
    let status = within("a failure", under_way).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(named.begun.load(Ordering::SeqCst), 5, "what was under way was not sent again");
    assert_eq!(channel.endpoints()[0].errors, 1, "who waited in vain is no error of the endpoint");
}

#[tokio::test]
async fn a_request_that_its_caller_cannot_write_fails_with_the_callers_reason() {
    let registry = MemoryRegistry::new();
    let (address, named, _task) = bare("a").await;
    list(&registry, instance_at(address)).await;
    let channel = builder(&registry).build();
    settled(&channel, 1).await;
    let mut client = EchoClient::new(channel.clone()).max_encoding_message_size(1);
    let status = client.call(Request { after_ms: 1_000_000, replies: 0 }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().contains("encoded message length too large"), "{status:?}");
    let shown = channel.endpoints();
    assert_eq!((named.begun.load(Ordering::SeqCst), shown[0].calls, shown[0].errors), (0, 0, 0));
}

/// Answers every request with messages and no status.
async fn without_a_status() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    let head = http::Response::builder().header("content-type", "application/grpc").body(());
                    let mut body = answer.send_response(head.unwrap(), false).unwrap();
                    body.send_data(bytes::Bytes::from_static(&[0; 5]), true).unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_without_a_status_counts_as_an_error() {
    let registry = MemoryRegistry::new();
    list(&registry, instance_at(without_a_status().await)).await;
    let channel = builder(&registry).build();
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap_err().code(), Code::Unknown);
    let shown = channel.endpoints();
    assert_eq!((shown[0].calls, shown[0].errors, shown[0].in_flight), (1, 1, 0));
}

#[tokio::test]
async fn a_stream_that_its_deadline_ends_counts_as_an_error_and_not_as_a_failure() {
    let registry = MemoryRegistry::new();
    let (address, _, _task) = bare("a").await;
    let (other, _, _other_task) = bare("b").await;
    list(&registry, instance_at(address)).await;
    list(&registry, instance_at(other)).await;
    let channel = builder(&registry).ejection(Ejection::default().with_after(1)).build();
    settled(&channel, 2).await;
    let mut request = tonic::Request::new(Request { after_ms: 60_000, replies: 1 });
    request.set_timeout(Duration::from_millis(100));
    let mut answers = EchoClient::new(channel.clone()).stream(request).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    let shown = channel.endpoints();
    assert_eq!(shown.iter().map(|one| one.errors).sum::<u64>(), 1);
    assert!(shown.iter().all(|one| one.is_ready() && one.in_flight == 0), "{shown:?}");
}

#[tokio::test]
async fn who_registers_anew_and_then_fails_stays_out_for_as_long_as_anybody_else() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    let (at, _task) = moody.serve();
    let (other, _, _other_task) = bare("b").await;
    list(&registry, instance_at(other)).await;
    let patient = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
    let channel =
        builder(&registry).ejection(Ejection::default().with_after(1).with_backoff(patient)).build();
    for weight in [1, 100] {
        list(&registry, instance_at(at).id("moody").weight(weight)).await;
        let all_there = |all: &[EndpointStatus]| {
            all.len() == 2
                && all.iter().any(|one| one.weight == weight)
                && all.iter().all(|one| one.is_ready())
        };
        channel.wait_until(PATIENCE, all_there).await.unwrap();
    }
    moody.answer(Code::Unavailable);
    while call(&channel, 0).await.is_ok() {}
    let out = |all: &[EndpointStatus]| all.iter().any(|one| one.ejections == 1);
    channel.wait_until(PATIENCE, out).await.unwrap();
    let back = |all: &[EndpointStatus]| all.iter().all(|one| one.is_ready());
    channel.wait_until(Duration::from_millis(300), back).await.unwrap_err();
}

/// Connects the first time as soon as it may.
struct Held {
    server: std::net::SocketAddr,
    may: Arc<Notify>,
    tries: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Connect for Held {
    async fn connect(&self, _: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
        if self.tries.fetch_add(1, Ordering::SeqCst) == 0 {
            self.may.notified().await;
        }
        Ok(Box::new(TcpStream::connect(self.server).await?))
    }
}

#[tokio::test]
async fn who_registered_anew_before_it_was_connected_to_is_not_tried_at_once_when_that_breaks() {
    let registry = MemoryRegistry::new();
    let (address, _, _task) = bare("a").await;
    let proxy = Proxy::start(address).unwrap();
    let (may, tries) = (Arc::<Notify>::default(), Arc::<AtomicUsize>::default());
    let connect = Held { server: proxy.address(), may: Arc::clone(&may), tries: Arc::clone(&tries) };
    let patient = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
    let channel = builder(&registry).connector(connect).connect_timeout(PATIENCE).backoff(patient).build();
    for weight in [1, 100] {
        list(&registry, instance_at(address).id("a").weight(weight)).await;
        let known = |all: &[EndpointStatus]| all.iter().any(|one| one.weight == weight);
        channel.wait_until(PATIENCE, known).await.unwrap();
        eventually("it is tried", || tries.load(Ordering::SeqCst) == 1).await;
    }
    may.notify_one();
    settled(&channel, 1).await;
    proxy.reset().await;
    channel.wait_until(PATIENCE, |all| !all[0].is_ready()).await.unwrap();
    channel.wait_until(Duration::from_millis(300), |all| all[0].is_ready()).await.unwrap_err();
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_endpoint_out_of_reach_changes_nothing_each_time_it_is_tried() {
    let registry = MemoryRegistry::new();
    let tries = Arc::new(AtomicUsize::new(0));
    list(&registry, instance_at("127.0.0.1:1".parse().unwrap())).await;
    let often = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let channel = builder(&registry).backoff(often).connector(Panics(Arc::clone(&tries))).build();
    let mut looks = 0;
    let never = channel.wait_until(Duration::from_millis(500), |_| {
        looks += 1;
        false
    });
    let shown = never.await.unwrap_err();
    let tries = tries.load(Ordering::SeqCst);
    assert!(tries > 20, "{tries}");
    assert!(looks <= 5, "looked {looks} times at {tries} tries");
    let Connectivity::Connecting { error: Some(error) } = &shown[0].connectivity else { panic!("{shown:?}") };
    assert_eq!(&**error, "the connector panicked");
}

/// Counts how often it was tried.
struct Panics(Arc<AtomicUsize>);

#[tonic::async_trait]
impl Connect for Panics {
    async fn connect(&self, _: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("of this test")
    }
}

/// Sends more than its readers take.
#[derive(Clone)]
struct Floods(Named);

#[tonic::async_trait]
impl Echo for Floods {
    async fn call(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.0.call(request).await
    }

    type StreamStream = <Named as Echo>::StreamStream;

    async fn stream(&self, _: tonic::Request<Request>) -> Result<Response<Self::StreamStream>, Status> {
        let reply = Reply { server: "x".repeat(1 << 20) };
        Ok(Response::new(Box::pin(futures_util::stream::iter(std::iter::repeat_n(Ok(reply), 10)))))
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_do_not_keep_others_from_being_heard() {
    let registry = MemoryRegistry::new();
    let echo = EchoServer::new(Floods(Named::new("a")));
    let (address, _task) = serve(tonic::transport::Server::builder().add_service(echo));
    list(&registry, instance_at(address)).await;
    let channel = builder(&registry).build();
    settled(&channel, 1).await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(EchoClient::new(channel.clone()).stream(Request::default()).await.unwrap());
    }
    // So that what they are sent is there.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(within("an answer", call(&channel, 0)).await.unwrap(), "a");
    drop(unread);
}
