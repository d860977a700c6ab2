//! What a channel does about endpoints that fail, fall silent, or say that they do not serve.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::{Directory, Endpoint};
use registry_memory::MemoryRegistry;
use registry_tonic::{
    CallError, CallErrorKind, Channel, ChannelBuilder, Connect, Connectivity, Ejection, EndpointStatus,
    Policy, Retry, Stream, WaitForReady,
};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::listed::{Moody, bare, instance_at, list, serve};
use support::{Load, Named, PATIENCE, call, eventually, service, settled, shared, within};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::Code;

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_secs(1)).slow_start(Duration::ZERO)
}

fn quick_to_eject() -> Ejection {
    let backoff = Backoff::new(Duration::from_millis(300), Duration::from_secs(1));
    Ejection::default().with_after(3).with_backoff(backoff)
}

fn status_of<'a>(all: &'a [EndpointStatus], id: &str) -> &'a EndpointStatus {
    all.iter().find(|one| one.id.as_str() == id).expect("it is listed")
}

fn is_ejected(status: &EndpointStatus) -> bool {
    matches!(status.connectivity, Connectivity::Ejected { .. })
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_and_comes_back_once_it_works() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    let (moody_at, _moody_task) = moody.serve();
    list(&registry, instance_at(moody_at).id("moody")).await;
    let (b, _, _b_task) = bare("b").await;
    let (c, _, _c_task) = bare("c").await;
    list(&registry, instance_at(b)).await;
    list(&registry, instance_at(c)).await;
    let channel = builder(&registry).ejection(quick_to_eject()).build();
    settled(&channel, 3).await;

    moody.answer(Code::Unavailable);
    let mut failures = 0;
    while !is_ejected(status_of(&channel.endpoints(), "moody")) {
        failures += u32::from(call(&channel, 0).await.is_err());
        assert!(failures <= 4, "3 in a row, and one that was picked before it was out");
    }
    let shown = channel.endpoints();
    let Connectivity::Ejected { reason } = &status_of(&shown, "moody").connectivity else {
        panic!("{shown:?}")
    };
    assert!(reason.contains("calls failed in a row") && reason.contains("UNAVAILABLE"), "{reason}");
    assert_eq!(status_of(&shown, "moody").errors, u64::from(failures));
    assert_eq!(status_of(&shown, "moody").ejections, 1);

    // It is tried again with one call at a time, and ejected for longer each time.
    let again = channel.wait_until(PATIENCE, |all| status_of(all, "moody").is_ready()).await.unwrap();
    assert_eq!(status_of(&again, "moody").ejections, 1);
    let before = moody.begun();
    while !is_ejected(status_of(&channel.endpoints(), "moody")) {
        let _ = call(&channel, 0).await;
    }
    assert!(moody.begun() - before <= 2, "{} calls", moody.begun() - before);

    moody.answer(Code::Ok);
    let before = moody.begun();
    let load = Load::start(&channel, 2, 0);
    eventually("it is called again", || moody.begun() > before + 50).await;
    assert!(load.stop().await.failures.is_empty());
}

#[tokio::test]
async fn who_fails_again_and_again_is_out_for_longer_each_time() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    moody.answer(Code::Unavailable);
    let (at, _task) = moody.serve();
    let (other, _, _other_task) = bare("other").await;
    list(&registry, instance_at(at).id("moody")).await;
    list(&registry, instance_at(other)).await;
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let channel =
        builder(&registry).ejection(Ejection::default().with_after(1).with_backoff(backoff)).build();
    settled(&channel, 2).await;
    for time in 0..4 {
        // From before the call for which it was put out.
        let mut out = tokio::time::Instant::now();
        while status_of(&channel.endpoints(), "moody").ejections == time {
            out = tokio::time::Instant::now();
            let _ = call(&channel, 0).await;
        }
        channel.wait_until(PATIENCE, |all| status_of(all, "moody").is_ready()).await.unwrap();
        let least = backoff.delay(u32::try_from(time).unwrap(), 0.0);
        assert!(out.elapsed() >= least, "time {time}: back after {:?}", out.elapsed());
    }
}

#[tokio::test]
async fn other_errors_are_the_callers_and_eject_nobody() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    let (at, _task) = moody.serve();
    let (other, _, _other_task) = bare("b").await;
    list(&registry, instance_at(at).id("moody")).await;
    list(&registry, instance_at(other)).await;
    let channel = builder(&registry).ejection(quick_to_eject()).build();
    settled(&channel, 2).await;
    moody.answer(Code::Internal);
    while moody.begun() < 50 {
        let _ = call(&channel, 0).await;
    }
    let shown = channel.endpoints();
    let moody = status_of(&shown, "moody");
    assert!(moody.is_ready() && moody.ejections == 0 && moody.errors >= 49, "{moody:?}");
}

#[tokio::test]
async fn at_least_half_of_the_endpoints_are_never_ejected() {
    let registry = MemoryRegistry::new();
    let all: Vec<Moody> = ["a", "b", "c", "d"].map(Moody::new).into();
    let mut tasks = Vec::new();
    for moody in &all {
        let (at, task) = moody.serve();
        tasks.push(task);
        list(&registry, instance_at(at)).await;
        moody.answer(Code::Unavailable);
    }
    let patient = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
    let channel = builder(&registry).ejection(quick_to_eject().with_backoff(patient)).build();
    settled(&channel, 4).await;
    for _ in 0..100 {
        let _ = call(&channel, 0).await;
    }
    let two_out = |all: &[EndpointStatus]| all.iter().filter(|one| is_ejected(one)).count() == 2;
    channel.wait_until(PATIENCE, two_out).await.unwrap();
    for _ in 0..100 {
        assert_eq!(call(&channel, 0).await.unwrap_err().message(), "as I was told");
        assert!(two_out(&channel.endpoints()));
    }
}

fn begun(named: &Named) -> u32 {
    named.begun.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_call_that_takes_long_is_not_taken_for_a_black_hole() {
    let registry = MemoryRegistry::new();
    let (a, _, _a_task) = bare("a").await;
    let (b, _, _b_task) = bare("b").await;
    list(&registry, instance_at(a)).await;
    list(&registry, instance_at(b)).await;
    let channel = builder(&registry).silent_after(Duration::from_millis(50)).build();
    settled(&channel, 2).await;
    let slow = |channel: &Channel| {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel, 700).await })
    };
    let calls: Vec<_> = (0..8).map(|_| slow(&channel)).collect();
    for slow in calls {
        within("an answer", slow).await.unwrap().unwrap();
    }
    let shown = channel.endpoints();
    assert!(shown.iter().all(|one| one.ejections == 0 && one.errors == 0), "{shown:?}");
    settled(&channel, 2).await;
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_ejected_even_if_the_connection_lives() {
    let registry = MemoryRegistry::new();
    let (stuck_at, stuck, _stuck_task) = bare("stuck").await;
    let (b, _, _b_task) = bare("b").await;
    let (c, _, _c_task) = bare("c").await;
    list(&registry, instance_at(stuck_at).id("stuck")).await;
    // In turn, so that it is known how often the others are called meanwhile.
    let channel = builder(&registry).ejection(quick_to_eject()).policy(Policy::RoundRobin).build();
    settled(&channel, 1).await;
    // Only the one that is stuck is there to be called at first.
    let hang = |channel: &Channel| {
        let mut client = EchoClient::new(channel.clone());
        let mut request = tonic::Request::new(Request { after_ms: 60_000, replies: 0 });
        request.set_timeout(Duration::from_millis(200));
        async move { client.call(request).await.unwrap_err() }
    };
    for _ in 0..2 {
        assert_eq!(hang(&channel).await.code(), Code::DeadlineExceeded);
    }
    list(&registry, instance_at(b)).await;
    list(&registry, instance_at(c)).await;
    settled(&channel, 3).await;
    assert_eq!(begun(&stuck), 2);
    while status_of(&channel.endpoints(), "stuck").ejections == 0 {
        assert_eq!(hang(&channel).await.code(), Code::DeadlineExceeded);
        assert!(begun(&stuck) <= 4);
    }
}

/// Reaches one endpoint in a way that can die. Nobody is told so: whoever looks at the connection next sees that it has ended.
#[derive(Clone)]
struct Mortal {
    port: u16,
    dead: Arc<AtomicBool>,
}

struct MortalStream(TcpStream, Option<Arc<AtomicBool>>);

impl MortalStream {
    fn is_dead(&self) -> bool {
        self.1.as_ref().is_some_and(|dead| dead.load(Ordering::SeqCst))
    }
}

#[tonic::async_trait]
impl Connect for Mortal {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let dead = (endpoint.port() == self.port).then(|| Arc::clone(&self.dead));
        let stream = MortalStream(TcpStream::connect(endpoint.authority()).await?, dead);
        if stream.is_dead() { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(Box::new(stream)) }
    }
}

impl AsyncRead for MortalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_dead() { Poll::Ready(Ok(())) } else { Pin::new(&mut self.0).poll_read(cx, buffer) }
    }
}

impl AsyncWrite for MortalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let dead = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        if self.is_dead() { dead() } else { Pin::new(&mut self.0).poll_write(cx, data) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_was_not_written_when_its_server_died_goes_to_another_and_what_was_written_fails() {
    let registry = MemoryRegistry::new();
    let (mortal_at, mortal, _mortal_task) = bare("mortal").await;
    let (other_at, other, _other_task) = bare("other").await;
    list(&registry, instance_at(mortal_at)).await;
    let connector = Mortal { port: mortal_at.port(), dead: Arc::default() };
    let channel = builder(&registry).policy(Policy::RoundRobin).connector(connector.clone()).build();
    settled(&channel, 1).await;
    let written = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 60_000).await }
    });
    eventually("the call is there", || begun(&mortal) == 1).await;
    list(&registry, instance_at(other_at)).await;
    settled(&channel, 2).await;

    // On one thread, so that nobody sees it before the calls are made.
    connector.dead.store(true, Ordering::SeqCst);
    let calls: Vec<_> = (0..8).map(|_| Box::pin(call(&channel, 0))).collect();
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), "other");
    }
    let failed = within("a failure", written).await.unwrap().unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
    let error = failed.source().and_then(|source| source.downcast_ref::<CallError>()).unwrap();
    assert!(error.may_have_been_sent(), "{error:?}");
    assert_eq!((begun(&mortal), begun(&other)), (1, 8), "each once");
}

#[tokio::test]
async fn a_call_that_failed_is_sent_again_elsewhere_only_where_that_is_allowed() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    let (at, _task) = moody.serve();
    let (other, named, _other_task) = bare("other").await;
    list(&registry, instance_at(at).id("moody")).await;
    list(&registry, instance_at(other).id("other")).await;
    moody.answer(Code::Unavailable);

    let plain = builder(&registry).ejection(None).build();
    settled(&plain, 2).await;
    let mut failures = 0;
    for _ in 0..100 {
        failures += u32::from(call(&plain, 0).await.is_err());
    }
    assert!(failures > 0 && failures == moody.begun(), "{failures} of {}", moody.begun());

    let retrying = builder(&registry).ejection(None).retry(Retry::default().with_budget(1.0, 100)).build();
    settled(&retrying, 2).await;
    let (before, of_other) = (moody.begun(), begun(&named));
    for _ in 0..100 {
        assert_eq!(call(&retrying, 0).await.unwrap(), "other");
    }
    assert!(moody.begun() > before, "it was tried");
    assert_eq!(begun(&named) - of_other, 100, "and each call was answered once");
}

/// A server that takes no request, and says so. Counts those that reached it.
async fn refusing() -> (std::net::SocketAddr, Arc<AtomicU32>, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, refused) = (listener.local_addr().unwrap(), Arc::<AtomicU32>::default());
    let counting = Arc::clone(&refused);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let refused = Arc::clone(&counting);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    refused.fetch_add(1, Ordering::SeqCst);
                    answer.send_reset(h2::Reason::REFUSED_STREAM);
                }
            });
        }
    });
    (address, refused, task)
}

#[tokio::test]
async fn what_a_server_says_it_has_not_looked_at_goes_to_another_without_any_policy() {
    let registry = MemoryRegistry::new();
    let (refusing_at, refused, _refusing_task) = refusing().await;
    let (other_at, other, _other_task) = bare("other").await;
    list(&registry, instance_at(refusing_at)).await;
    list(&registry, instance_at(other_at)).await;
    let channel = builder(&registry).build();
    settled(&channel, 2).await;
    for _ in 0..100 {
        assert_eq!(call(&channel, 0).await.unwrap(), "other");
    }
    assert!(refused.load(Ordering::SeqCst) > 10, "{refused:?} were sent there first");
    assert_eq!(begun(&other), 100);
    assert!(channel.endpoints().iter().all(|one| one.errors == 0 && one.ejections == 0), "{channel:?}");
}

#[tokio::test]
async fn where_nobody_takes_a_request_it_fails_and_does_not_go_round_for_ever() {
    let registry = MemoryRegistry::new();
    let (refusing_at, refused, _task) = refusing().await;
    list(&registry, instance_at(refusing_at)).await;
    let channel = builder(&registry).build();
    settled(&channel, 1).await;
    let status = within("a failure", call(&channel, 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(refused.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn without_a_budget_what_fails_has_failed() {
    let registry = MemoryRegistry::new();
    let moody = Moody::new("moody");
    let (at, _task) = moody.serve();
    list(&registry, instance_at(at)).await;
    moody.answer(Code::Unavailable);
    let retry = Retry::default()
        .with_budget(0.1, 0)
        .with_backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(1)));
    let channel = builder(&registry).retry(retry).build();
    settled(&channel, 1).await;
    for _ in 0..100 {
        let status = call(&channel, 0).await.unwrap_err();
        assert_eq!(status.message(), "as I was told");
    }
    assert!((101..=110).contains(&moody.begun()), "{} attempts for 100 calls", moody.begun());
}

#[tokio::test]
async fn a_call_can_ask_not_to_wait() {
    let registry = MemoryRegistry::new();
    let channel = builder(&registry).wait_for_ready(Duration::from_secs(600)).build();
    channel.view().ready().await;
    let mut request = tonic::Request::new(Request::default());
    request.extensions_mut().insert(WaitForReady(Duration::ZERO));
    let failed = within("a failure", EchoClient::new(channel.clone()).call(request)).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_deadline_that_ends_the_wait_for_an_endpoint_says_so() {
    let registry = MemoryRegistry::new();
    let channel = builder(&registry).wait_for_ready(Duration::from_secs(600)).build();
    channel.view().ready().await;
    let mut request = tonic::Request::new(Request::default());
    request.set_timeout(Duration::from_millis(100));
    let failed = within("a failure", EchoClient::new(channel.clone()).call(request)).await.unwrap_err();
    assert_eq!(failed.code(), Code::DeadlineExceeded);
    assert!(failed.message().contains("no instances are registered"), "{}", failed.message());
    let source = std::error::Error::source(&failed).and_then(|source| source.downcast_ref::<CallError>());
    assert_eq!(source.map(CallError::kind), Some(CallErrorKind::NoEndpoint));
}

#[tokio::test]
async fn who_says_that_it_does_not_serve_is_not_called() {
    let registry = MemoryRegistry::new();
    let named = Named::new("healthy");
    let (reporter, health) = tonic_health::server::health_reporter();
    let (at, _task) = serve(named.router().add_service(health));
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    list(&registry, instance_at(at)).await;
    let channel = builder(&registry).wait_for_ready(Duration::from_millis(200)).watch_health("").build();
    let not_serving = |all: &[EndpointStatus]| {
        all.len() == 1 && matches!(all[0].connectivity, Connectivity::NotServing { .. })
    };
    channel.wait_until(PATIENCE, not_serving).await.unwrap();
    let status = call(&channel, 0).await.unwrap_err();
    assert!(status.message().contains("says that it does not serve"), "{}", status.message());

    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "healthy");
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    channel.wait_until(PATIENCE, not_serving).await.unwrap();
}

#[tokio::test]
async fn a_server_without_the_health_service_counts_as_one_that_serves() {
    let registry = MemoryRegistry::new();
    let (at, _, _task) = bare("old").await;
    list(&registry, instance_at(at)).await;
    let channel = builder(&registry).watch_health("").build();
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "old");
}
