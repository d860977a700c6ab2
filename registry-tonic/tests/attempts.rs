//! What a call that takes several attempts waits for, is told, and tells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::Directory;
use registry_core::backoff::Backoff;
use registry_memory::MemoryRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_tonic::{CallError, Channel, ChannelBuilder, Ejection, Retry};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::echo::echo_server::EchoServer;
use support::listed::{bare, instance_at, list, serve};
use support::{Named, call, eventually, service, settled, shared, within};
use tokio::time::Instant;
use tonic::{Code, Status};

/// How long an endpoint is waited for.
const WAIT: Duration = Duration::from_millis(300);

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let quick = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    Channel::builder(Directory::new(shared(registry)).view(&service()))
        .wait_for_ready(WAIT)
        .retry(Retry::default().with_backoff(quick))
}

/// A server behind a proxy, and a call of a channel that it has begun to work on.
struct Begun {
    proxy: Proxy,
    named: Named,
    call: tokio::task::JoinHandle<Result<String, Status>>,
    _server: tokio::task::JoinHandle<()>,
}

impl Begun {
    async fn start(after_ms: u64) -> Self {
        let registry = MemoryRegistry::new();
        let (address, named, server) = bare("a").await;
        let proxy = Proxy::start(address).unwrap();
        list(&registry, instance_at(proxy.address())).await;
        let channel = builder(&registry).build();
        settled(&channel, 1).await;
        let call = tokio::spawn(async move { call(&channel, after_ms).await });
        eventually("it has begun", || named.begun.load(Ordering::SeqCst) == 1).await;
        Self { proxy, named, call, _server: server }
    }

    async fn answer(self) -> Result<String, Status> {
        within("an answer", self.call).await.unwrap()
    }
}

#[tokio::test]
async fn a_call_that_was_sent_once_says_so_even_if_it_then_finds_nobody() {
    let begun = Begun::start(60_000).await;
    begun.proxy.set(Faults::refusing()).await;
    begun.proxy.reset().await;
    let status = begun.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let error = status.source().and_then(|source| source.downcast_ref::<CallError>()).unwrap();
    assert!(error.may_have_been_sent(), "{error:?}");
}

#[tokio::test]
async fn what_a_server_may_have_begun_does_not_go_to_another_when_the_connection_breaks() {
    let registry = MemoryRegistry::new();
    let (mut proxies, mut all, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let (address, named, task) = bare(name).await;
        proxies.push(Proxy::start(address).unwrap());
        list(&registry, instance_at(proxies[all.len()].address()).id(name)).await;
        all.push(named);
        tasks.push(task);
    }
    let channel = builder(&registry).retry(None).build();
    settled(&channel, 2).await;
    let begun = || all.iter().map(|named| named.begun.load(Ordering::SeqCst)).sum::<u32>();
    for round in 1..=5 {
        let calling = tokio::spawn({
            let channel = channel.clone();
            async move { call(&channel, 60_000).await }
        });
        eventually("it has begun", || begun() == round).await;
        for proxy in &proxies {
            proxy.reset().await;
        }
        let status = within("a failure", calling).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let error = status.source().and_then(|source| source.downcast_ref::<CallError>()).unwrap();
        assert!(error.may_have_been_sent(), "{error:?}");
        // Both are back, and would have got it by then.
        settled(&channel, 2).await;
        call_each(&channel, &all).await;
        assert_eq!(begun(), round, "it was begun once");
    }
}

/// Calls until each server was called, and takes those calls back from what they count.
async fn call_each(channel: &Channel, all: &[Named]) {
    let before: Vec<_> = all.iter().map(|named| named.begun.load(Ordering::SeqCst)).collect();
    let (mut called, mut seen) = (0, std::collections::BTreeSet::new());
    while seen.len() < all.len() {
        seen.insert(within("an answer", call(channel, 0)).await.unwrap());
        called += 1;
    }
    let after: u32 = all.iter().map(|named| named.begun.load(Ordering::SeqCst)).sum();
    assert_eq!(after - before.iter().sum::<u32>(), called, "nobody else calls");
    all.iter().zip(before).for_each(|(named, before)| named.begun.store(before, Ordering::SeqCst));
}

#[tokio::test]
async fn what_an_attempt_took_does_not_count_as_waiting_for_an_endpoint() {
    let begun = Begun::start(1_000).await;
    // Longer than an endpoint is waited for: the thing itself.
    tokio::time::sleep(WAIT + WAIT / 10).await;
    begun.proxy.reset().await;
    let named = begun.named.clone();
    assert_eq!(begun.answer().await.unwrap(), "a");
    assert_eq!(named.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_is_told_what_is_left_of_the_deadline() {
    let registry = MemoryRegistry::new();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let telling = Arc::clone(&told);
    let echo = EchoServer::with_interceptor(Named::new("a"), move |request: tonic::Request<()>| {
        let timeout = request.metadata().get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
        telling.lock().unwrap().push(timeout);
        Ok(request)
    });
    let (address, _server) = serve(tonic::transport::Server::builder().add_service(echo));
    let channel = builder(&registry).wait_for_ready(Duration::from_secs(10)).build();
    let mut request = tonic::Request::new(Request::default());
    request.set_timeout(Duration::from_secs(8));
    let mut client = EchoClient::new(channel);
    let began = Instant::now();
    let call = tokio::spawn(async move { client.call(request).await });
    // It has begun by then, and waits for what takes some time: the thing itself.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let waits = Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waited = waits.elapsed();
    list(&registry, instance_at(address)).await;
    within("an answer", call).await.unwrap().unwrap();
    let told = told.lock().unwrap().pop().unwrap();
    let left = Duration::from_micros(told.strip_suffix('u').unwrap().parse().unwrap());
    assert!(left <= Duration::from_secs(8) - waited, "{told}");
    assert!(left >= Duration::from_secs(8) - began.elapsed(), "{told}");
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_not_sent_and_speaks_against_nobody() {
    let registry = MemoryRegistry::new();
    let (a, a_named, _a_task) = bare("a").await;
    let (b, b_named, _b_task) = bare("b").await;
    list(&registry, instance_at(a)).await;
    list(&registry, instance_at(b)).await;
    let channel = builder(&registry).ejection(Ejection::default().with_after(1)).build();
    settled(&channel, 2).await;
    for _ in 0..10 {
        let mut request = tonic::Request::new(Request::default());
        request.set_timeout(Duration::ZERO);
        let status = EchoClient::new(channel.clone()).call(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let error = status.source().and_then(|source| source.downcast_ref::<CallError>()).unwrap();
        assert!(!error.may_have_been_sent(), "{error:?}");
    }
    // After those, were there any.
    call(&channel, 0).await.unwrap();
    let begun = [a_named, b_named].map(|named| named.begun.load(Ordering::SeqCst));
    assert_eq!(begun.iter().sum::<u32>(), 1);
    assert!(channel.endpoints().iter().all(|one| one.ejections == 0 && one.is_ready()));
}
