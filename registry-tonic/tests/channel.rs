//! What a channel promises its callers, with real servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::{Directory, Registry, RegistryExt, Status};
use registry_memory::MemoryRegistry;
use registry_tonic::{CallError, CallErrorKind, Channel};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::listed::{bare, instance_at, list};
use support::{
    Load, Named, PATIENCE, Process, call, client_address, eventually, service, settled, shared, within,
};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::server::TcpIncoming;

fn channel(registry: &MemoryRegistry) -> Channel {
    Channel::new(&Directory::new(shared(registry)), &service())
}

/// A channel that fails soon when there is nobody to call.
fn impatient(registry: &MemoryRegistry) -> Channel {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_millis(300)).build()
}

#[tokio::test]
async fn calls_reach_every_registered_server() {
    let registry = MemoryRegistry::new();
    let servers = [Process::start(&registry, "a").await, Process::start(&registry, "b").await];
    let channel = channel(&registry);
    settled(&channel, 2).await;
    let load = Load::start(&channel, 4, 0);
    eventually("both servers are called", || servers.iter().all(|server| server.begun() > 20)).await;
    assert!(load.stop().await.failures.is_empty());
}

#[tokio::test]
async fn a_call_that_comes_before_the_first_server_waits_for_it() {
    let registry = MemoryRegistry::new();
    let channel = channel(&registry);
    let early = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 0).await }
    });
    let _server = Process::start(&registry, "late").await;
    assert_eq!(early.await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn without_instances_a_call_fails_within_its_deadline_and_says_so() {
    let registry = MemoryRegistry::new();
    let channel = impatient(&registry);
    channel.view().ready().await;
    let began = Instant::now();
    let status = call(&channel, 0).await.unwrap_err();
    let took = began.elapsed();
    assert!((300..2000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(status.code(), Code::Unavailable);
    let message = status.message();
    assert!(message.starts_with("echo.rpc: no endpoint to call after 0.3 s: no instances"), "{message}");
    assert!(message.contains("proven current"), "{message}");
    let source = std::error::Error::source(&status).and_then(|source| source.downcast_ref::<CallError>());
    let source = source.expect("the channel's own error is the source");
    assert_eq!(source.kind(), CallErrorKind::NoEndpoint);
    assert!(!source.may_have_been_sent());
}

#[tokio::test]
async fn a_registry_that_was_never_reached_is_the_reason_given() {
    let registry = MemoryRegistry::new();
    registry.controls().outage();
    let status = call(&impatient(&registry), 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the registry was never reached"), "{}", status.message());
}

#[tokio::test]
async fn an_instance_that_cannot_be_connected_to_is_the_reason_given_and_is_not_called() {
    let registry = MemoryRegistry::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (dead, _) = list(&registry, instance_at(free)).await;
    let channel = impatient(&registry);
    let status = call(&channel, 0).await.unwrap_err();
    let message = status.message();
    assert!(message.contains("none of 1 instance can be called"), "{message}");
    assert!(message.contains(&format!("{}: Connection refused", dead.endpoint())), "{message}");

    let _server = Process::start(&registry, "alive").await;
    channel.wait_until(PATIENCE, |all| all.iter().any(|one| one.is_ready())).await.unwrap();
    for _ in 0..50 {
        assert_eq!(call(&channel, 0).await.unwrap(), "alive");
    }
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_says_nothing_is_not_called() {
    let registry = MemoryRegistry::new();
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    list(&registry, instance_at(mute.local_addr().unwrap())).await;
    let view = Directory::new(shared(&registry)).view(&service());
    let channel = Channel::builder(view)
        .connect_timeout(Duration::from_millis(100))
        .wait_for_ready(Duration::from_millis(300))
        .build();
    let _accepted = within("a connection", mute.accept()).await.unwrap();
    let status = within("a failed call", call(&channel, 0)).await.unwrap_err();
    assert!(status.message().contains("no answer within 100ms"), "{}", status.message());
}

#[tokio::test]
async fn weight_zero_gets_nothing_and_a_change_of_weight_is_noticed() {
    let registry = MemoryRegistry::new();
    let (address, named, _task) = bare("idle").await;
    let (instance, registration) = list(&registry, instance_at(address).weight(0)).await;
    let channel = impatient(&registry);
    let status = call(&channel, 0).await.unwrap_err();
    assert!(status.message().contains("1 instance with weight 0"), "{}", status.message());
    assert_eq!(named.begun.load(std::sync::atomic::Ordering::SeqCst), 0);

    let wanted = instance.to_builder().weight(7).build().unwrap();
    registry.update(&registration.lease, &wanted).await.unwrap();
    assert_eq!(call(&channel, 0).await.unwrap(), "idle");
    let more = wanted.to_builder().weight(8).build().unwrap();
    registry.update(&registration.lease, &more).await.unwrap();
    channel.wait_until(PATIENCE, |all| all.iter().all(|one| one.weight == 8)).await.unwrap();
}

#[tokio::test]
async fn draining_instances_get_calls_only_when_there_is_no_other() {
    let registry = MemoryRegistry::new();
    let (address, named, _task) = bare("leaving").await;
    let (instance, registration) = list(&registry, instance_at(address)).await;
    let (other, _, _other_task) = bare("staying").await;
    let (_, other_registration) = list(&registry, instance_at(other)).await;
    let channel = channel(&registry);
    settled(&channel, 2).await;

    registry.update(&registration.lease, &instance.clone().with_status(Status::Draining)).await.unwrap();
    channel.wait_until(PATIENCE, |all| all.iter().any(|one| one.status == Status::Draining)).await.unwrap();
    let before = named.begun.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(call(&channel, 0).await.unwrap(), "staying");
    }
    assert_eq!(named.begun.load(std::sync::atomic::Ordering::SeqCst), before);

    registry.deregister(&other_registration.lease).await.unwrap();
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "leaving");
}

#[tokio::test]
async fn calls_in_flight_on_an_instance_that_is_removed_finish() {
    let registry = MemoryRegistry::new();
    let (address, named, _task) = bare("removed").await;
    let (_, registration) = list(&registry, instance_at(address)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let mut stream = EchoClient::new(channel.clone())
        .stream(Request { after_ms: 100, replies: 4 })
        .await
        .unwrap()
        .into_inner();
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 400).await }
    });
    eventually("both are in flight", || named.begun.load(std::sync::atomic::Ordering::SeqCst) == 2).await;

    registry.deregister(&registration.lease).await.unwrap();
    settled(&channel, 0).await;
    let mut replies = 0;
    while let Some(reply) = stream.message().await.unwrap() {
        assert_eq!(reply.server, "removed");
        replies += 1;
    }
    assert_eq!(replies, 4);
    assert_eq!(slow.await.unwrap().unwrap(), "removed");
}

#[tokio::test]
async fn an_instance_that_registers_anew_keeps_its_connection() {
    let registry = MemoryRegistry::new();
    let (address, _named, _task) = bare("same").await;
    list(&registry, instance_at(address)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let before = client_address(&channel).await;
    let (_, again) = list(&registry, instance_at(address).metadata("round", "2")).await;
    let seen = |snapshot: &registry_core::Snapshot| {
        snapshot.iter().all(|entry| entry.incarnation() == again.lease.incarnation())
    };
    registry.wait_until(&service(), PATIENCE, seen).await.unwrap();
    eventually("the channel's view has it", || channel.view().load().snapshot().is_some_and(seen)).await;
    settled(&channel, 1).await;
    assert_eq!(client_address(&channel).await, before);
}

#[tokio::test]
async fn an_outage_of_the_registry_does_not_matter_to_calls() {
    let registry = MemoryRegistry::new();
    let (address, _named, _task) = bare("a").await;
    list(&registry, instance_at(address)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let load = Load::start(&channel, 2, 0);
    load.goes_on(50).await;
    registry.controls().outage();
    eventually("the view is stale", || !channel.view().load().stale_for(Instant::now()).is_zero()).await;
    load.goes_on(200).await;
    registry.controls().heal();
    eventually("the view is live", || channel.view().load().stale_for(Instant::now()).is_zero()).await;
    load.goes_on(50).await;
    assert!(load.stop().await.failures.is_empty());
}

#[tokio::test]
async fn a_request_that_a_leaving_server_never_took_goes_to_another() {
    let registry = MemoryRegistry::new();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let leaving_at = incoming.local_addr().unwrap();
    let leaving = Named::new("leaving");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = leaving.router();
    let server = tokio::spawn(async move {
        router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }).await.unwrap();
    });
    list(&registry, instance_at(leaving_at)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    // A call in flight keeps the connection open after the server has said that it takes no more.
    let mut held = EchoClient::new(channel.clone())
        .stream(Request { after_ms: 500, replies: 1 })
        .await
        .unwrap()
        .into_inner();
    let (other, _, _task) = bare("other").await;
    list(&registry, instance_at(other)).await;
    settled(&channel, 2).await;

    stop.send(()).unwrap();
    let load = Load::start(&channel, 4, 0);
    load.goes_on(400).await;
    assert_eq!(held.message().await.unwrap().unwrap().server, "leaving");
    within("the server's end", server).await.unwrap();
    load.goes_on(100).await;
    let tally = load.stop().await;
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert!(tally.answers["other"] >= 400, "{tally:?}");
}

#[tokio::test]
async fn the_deadline_of_a_call_holds_to_the_end_of_its_answer() {
    let registry = MemoryRegistry::new();
    let (address, _named, _task) = bare("slow").await;
    list(&registry, instance_at(address)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let with_deadline = |after_ms, replies| {
        let mut request = tonic::Request::new(Request { after_ms, replies });
        request.set_timeout(Duration::from_millis(200));
        request
    };
    let mut client = EchoClient::new(channel.clone());
    let status = client.call(with_deadline(60_000, 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let mut stream = client.stream(with_deadline(60_000, 1)).await.unwrap().into_inner();
    let status = within("the end of the stream", stream.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    eventually("nothing is in flight", || channel.endpoints().iter().all(|one| one.in_flight == 0)).await;
}

/// A client that stands still for a moment, as in a long garbage-free computation or on a busy machine, finds all its answers.
#[tokio::test]
async fn a_client_that_stands_still_for_a_moment_loses_no_call() {
    let registry = MemoryRegistry::new();
    let process = Process::start(&registry, "a").await;
    let channel = Channel::new(&Directory::new(shared(&registry)), &service());
    settled(&channel, 1).await;
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel, 50).await })
        })
        .collect();
    eventually("the calls have reached the server", || process.begun() >= 300).await;
    // This runtime has one thread, and it is blocked while the answers come: the thing itself.
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(Duration::from_millis(300));
    for call in calls {
        assert_eq!(within("an answer", call).await.unwrap().unwrap(), "a");
    }
}

#[tokio::test]
async fn the_deadline_of_a_stream_holds_for_a_slow_consumer_too() {
    let registry = MemoryRegistry::new();
    let _process = Process::start(&registry, "a").await;
    let channel = Channel::new(&Directory::new(shared(&registry)), &service());
    settled(&channel, 1).await;
    let mut request = tonic::Request::new(support::echo::Request { after_ms: 0, replies: u32::MAX });
    request.set_timeout(Duration::from_millis(300));
    let mut stream =
        support::echo::echo_client::EchoClient::new(channel).stream(request).await.unwrap().into_inner();
    let ends = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(None) => panic!("it never ends by itself"),
                Err(status) => return status,
            }
        }
    };
    assert_eq!(within("the deadline", ends).await.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn for_ever_is_a_time_to_wait_like_any_other() {
    let registry = MemoryRegistry::new();
    let view = Directory::new(shared(&registry)).view(&service());
    let channel = Channel::builder(view).wait_for_ready(Duration::MAX).connect_timeout(Duration::MAX).build();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 0).await }
    });
    let _process = Process::start(&registry, "a").await;
    assert_eq!(within("an answer", waiting).await.unwrap().unwrap(), "a");
}
