//! That a server stops in order, and in bounded time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_core::fault::{FaultPlan, Faults, Faulty};
use registry_core::{
    Directory, Instance, Operation, RegisterOptions, RegistrarOptions, RegistrarState, Registry, RegistryExt,
    Snapshot, Ttl,
};
use registry_memory::MemoryRegistry;
use registry_testing::servers::proxy::{self, Proxy};
use registry_tonic::{Channel, HealthCheck, ServerError, ServerState};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::listed::{instance_at, list};
use support::server::{Hooked, Running, quick};
use support::{Named, PATIENCE, Process, SERVICE, call, eventually, service, settled, shared, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

fn channel(registry: &MemoryRegistry) -> Channel {
    Channel::new(&Directory::new(shared(registry)), &service())
}

fn is_draining(state: &RegistrarState) -> bool {
    matches!(state, RegistrarState::Draining { .. })
}

/// Healthy once, and then without an answer for as long as it is waited for.
fn hanging_check() -> HealthCheck {
    let asked = std::sync::atomic::AtomicBool::new(false);
    let check = HealthCheck::new(move || {
        let again = asked.swap(true, std::sync::atomic::Ordering::SeqCst);
        async move {
            if again {
                pending::<()>().await;
            }
            Ok::<_, std::io::Error>(())
        }
    });
    check.with_interval(Duration::from_millis(1)).with_timeout(HOUR)
}

/// Reads a stream that never ends for as long as it is answered.
fn endless_stream(channel: &Channel) -> tokio::task::JoinHandle<()> {
    let mut client = EchoClient::new(channel.clone());
    tokio::spawn(async move {
        let request = Request { after_ms: 5, replies: u32::MAX };
        let mut replies = client.stream(request).await.unwrap().into_inner();
        while let Ok(Some(_)) = replies.message().await {}
    })
}

#[tokio::test]
async fn it_is_draining_before_it_is_gone_and_calls_in_flight_finish() {
    let registry = MemoryRegistry::new();
    let process = Process::start(&registry, "a").await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 600).await }
    });
    eventually("the call is in flight", || process.begun() == 1).await;
    process.handle.shutdown();
    within("draining", process.handle.wait_until(is_draining)).await;
    registry.wait_until(&service(), PATIENCE, Snapshot::is_empty).await.unwrap();
    process.ended().await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn the_shutdown_future_of_the_caller_stops_it() {
    let registry = MemoryRegistry::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let process =
        Process::start_with(&registry, "a", |builder| builder.shutdown_on(async { drop(stopped.await) }))
            .await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    stop.send(()).unwrap();
    process.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_of_someone_else_stays_when_it_stops() {
    let registry = MemoryRegistry::new();
    let other = Instance::builder(SERVICE).endpoint("127.0.0.1:1").build().unwrap();
    registry.register(&other, &RegisterOptions::new()).await.unwrap();
    let process = Process::start(&registry, "a").await;
    process.handle.shutdown();
    process.ended().await.unwrap();
    let left = registry.lookup(&service()).await.unwrap();
    assert_eq!(left.instances().collect::<Vec<_>>(), [&other]);
}

#[tokio::test]
async fn a_registry_that_is_down_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let options = RegistrarOptions::new().with_shutdown_timeout(Duration::from_millis(300));
    let process = Process::start_with(&registry, "a", |builder| builder.registrar(options)).await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    registry.controls().black_hole();
    let began = Instant::now();
    process.handle.shutdown();
    process.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_call_that_does_not_end_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let bound = Duration::from_millis(200);
    let process = Process::start_with(&registry, "a", |builder| builder.finish_within(bound)).await;
    let channel = channel(&registry);
    tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 600_000).await }
    });
    eventually("the call is in flight", || process.begun() == 1).await;
    process.handle.shutdown();
    let error = process.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Unfinished { after } if after == bound), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_never_ends_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let bound = Duration::from_millis(200);
    let process = Process::start_with(&registry, "a", |builder| builder.finish_within(bound)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    endless_stream(&channel);
    eventually("the stream is open", || process.begun() == 1).await;
    process.handle.shutdown();
    let error = process.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Unfinished { after } if after == bound), "{error:?}");
}

#[tokio::test]
async fn a_health_check_that_hangs_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).health_check(hanging_check())).await;
    running.registered().await;
    running.handle.shutdown();
    running.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_was_never_healthy_stops_at_once() {
    let never = HealthCheck::new(pending::<Result<(), std::io::Error>>).with_timeout(HOUR);
    let builder = quick(shared(&MemoryRegistry::new())).health_check(never).drain_grace(HOUR);
    let running = Running::start(builder).await;
    running.handle.shutdown();
    running.ended().await.unwrap();
}

#[tokio::test]
async fn it_stops_within_its_bounds_when_everything_hangs_at_once() {
    let registry = MemoryRegistry::new();
    let bound = Duration::from_millis(300);
    let process = Process::start_with(&registry, "a", |builder| {
        let options = RegistrarOptions::new().with_shutdown_timeout(bound);
        builder.registrar(options).health_check(hanging_check()).drain_grace(bound).finish_within(bound)
    })
    .await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    endless_stream(&channel);
    eventually("the stream is open", || process.begun() == 1).await;
    registry.controls().black_hole();
    let began = Instant::now();
    process.handle.shutdown();
    let error = process.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Unfinished { .. }), "{error:?}");
    // 0.9 s, and what a busy machine takes.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_grace_ends_early_once_nobody_is_connected() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).drain_grace(HOUR)).await;
    running.registered().await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    running.handle.shutdown();
    within("draining", running.handle.wait_until(is_draining)).await;
    drop(channel);
    running.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_stays_connected_has_the_whole_grace() {
    let registry = MemoryRegistry::new();
    let grace = Duration::from_millis(1500);
    let running = Running::start(quick(shared(&registry)).drain_grace(grace)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let began = Instant::now();
    running.handle.shutdown();
    running.ended().await.unwrap();
    assert!(began.elapsed() >= grace, "{:?}", began.elapsed());
}

#[tokio::test]
async fn asking_twice_cuts_the_drain_short_and_it_is_deregistered_before_it_ends() {
    let registry = MemoryRegistry::new();
    let slow = Hooked::new(&registry, |operation, _| {
        let takes = if operation == Operation::Deregister { 300 } else { 0 };
        Box::pin(tokio::time::sleep(Duration::from_millis(takes)))
    });
    let running = Running::start(quick(slow).drain_grace(HOUR)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    running.handle.shutdown();
    within("draining", running.handle.wait_until(is_draining)).await;
    running.handle.shutdown();
    running.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn asking_twice_does_not_cut_the_calls_in_flight() {
    let registry = MemoryRegistry::new();
    let process = Process::start_with(&registry, "a", |builder| builder.drain_grace(HOUR)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let answer = tokio::spawn(async move { call(&channel, 700).await });
    eventually("the call has begun", || process.begun() == 1).await;
    process.handle.shutdown();
    within("draining", process.handle.wait_until(is_draining)).await;
    process.handle.shutdown();
    process.ended().await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn asking_again_and_again_ends_it_whatever_hangs() {
    let registry = MemoryRegistry::new();
    let process = Process::start_with(&registry, "a", |builder| {
        let options = RegistrarOptions::new().with_shutdown_timeout(HOUR);
        builder.registrar(options).drain_grace(HOUR).finish_within(HOUR)
    })
    .await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    endless_stream(&channel);
    eventually("the stream is open", || process.begun() == 1).await;
    registry.controls().black_hole();
    let handle = process.handle.clone();
    let asking = tokio::spawn(async move {
        while handle.state() != ServerState::Ended {
            handle.shutdown();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let error = process.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Unfinished { after } if after < HOUR), "{error:?}");
    within("the handle says so", asking).await.unwrap();
}

#[tokio::test]
async fn through_a_storm_of_faults_it_is_registered_and_leaves_nothing_behind() {
    for seed in 0..4 {
        let registry = MemoryRegistry::new();
        let faulty = Faulty::new(registry.clone(), Faults::new(FaultPlan::stormy(), seed));
        let running = Running::start(quick(Arc::new(faulty)).ttl(Ttl::from_secs(2).unwrap())).await;
        running.registered().await;
        running.handle.shutdown();
        running.ended().await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        // What it could not deregister goes when its lease ends.
        let empty = registry.wait_until(&service(), PATIENCE, Snapshot::is_empty).await;
        empty.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[tokio::test]
async fn who_connects_and_says_nothing_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).finish_within(HOUR)).await;
    running.registered().await;
    let silent = tokio::net::TcpStream::connect(running.handle.local_addr()).await.unwrap();
    running.handle.shutdown();
    running.ended().await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_client_that_stands_still_does_not_keep_it_from_stopping_unless_it_has_a_call() {
    for has_a_call in [false, true] {
        let registry = MemoryRegistry::new();
        let bound = if has_a_call { Duration::from_millis(2500) } else { HOUR };
        let running = Running::start(quick(shared(&registry)).finish_within(bound)).await;
        let proxy = Proxy::start(running.handle.local_addr()).unwrap();
        let elsewhere = MemoryRegistry::new();
        list(&elsewhere, instance_at(proxy.address())).await;
        let channel = channel(&elsewhere);
        settled(&channel, 1).await;
        assert_eq!(call(&channel, 0).await.unwrap(), "a");
        if has_a_call {
            tokio::spawn(async move { call(&channel, 600_000).await });
            eventually("it has begun", || running.named.begun.load(Ordering::SeqCst) == 2).await;
        }
        proxy.set(proxy::Faults::stalled()).await;
        running.handle.shutdown();
        let ended = running.ended().await;
        match has_a_call {
            false => ended.unwrap(),
            true => assert!(matches!(ended, Err(ServerError::Unfinished { .. })), "{ended:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_that_takes_longer_than_a_goodbye_is_answered() {
    let registry = MemoryRegistry::new();
    let process = Process::start_with(&registry, "a", |builder| builder.finish_within(HOUR)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let answer = tokio::spawn(async move { call(&channel, 2500).await });
    eventually("the call has begun", || process.begun() == 1).await;
    process.handle.shutdown();
    assert_eq!(within("an answer", answer).await.unwrap().unwrap(), "a");
    process.ended().await.unwrap();
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_hung_up_on_also_when_the_future_of_serving_is_dropped() {
    let registry = MemoryRegistry::new();
    let server = quick(shared(&registry)).bind().await.unwrap();
    let at = server.local_addr();
    let serving = tokio::spawn(server.serve(Named::new("a").router()));
    let mut silent = tokio::net::TcpStream::connect(at).await.unwrap();
    // Who came later is served, so it was accepted.
    let channel = channel(&registry);
    settled(&channel, 1).await;
    serving.abort();
    within("the end", silent.read_to_end(&mut Vec::new())).await.expect("no reset");
}

/// What a client sends before anything else: that it speaks HTTP/2, and no settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A frame of a kind that nobody knows, which is skipped.
const UNKNOWN: &[u8] = b"\x00\x00\x00\xee\x00\x00\x00\x00\x00";

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

#[tokio::test]
async fn who_goes_on_sending_until_it_has_read_the_goodbye_gets_to_read_it() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).finish_within(HOUR)).await;
    running.registered().await;
    let mut client = tokio::net::TcpStream::connect(running.handle.local_addr()).await.unwrap();
    client.write_all(HELLO).await.unwrap();
    let (kind, _) = within("it has heard the client", frame(&mut client)).await.unwrap();
    assert_eq!(kind, SETTINGS);

    running.handle.shutdown();
    let goodbyes = within("it says goodbye", async {
        let mut goodbyes = 0;
        while let Ok((kind, payload)) = frame(&mut client).await {
            match kind {
                GOAWAY => goodbyes += 1,
                // It asks so that it knows when the client has heard that it is about to go, and is gone after that.
                PING => {
                    client.write_all(&[0, 0, 8, PING, 1, 0, 0, 0, 0]).await.unwrap();
                    client.write_all(&payload).await.unwrap();
                    while goodbyes < 2 && client.readable().await.is_ok() {
                        let (kind, _) = frame(&mut client).await.unwrap();
                        goodbyes += u32::from(kind == GOAWAY);
                    }
                    // It has closed its side, or is about to: what is still sent is no reason for a reset.
                    for _ in 0..100 {
                        client.write_all(UNKNOWN).await.expect("no reset");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                _ => {}
            }
        }
        goodbyes
    })
    .await;
    assert_eq!(goodbyes, 2);
    assert_eq!(client.read(&mut [0]).await.expect("no reset"), 0);
    drop(client);
    running.ended().await.unwrap();
}

/// The server has greeted it by then, and it counts as connected: what it asks along with its own greeting is answered, or known not to be taken.
#[tokio::test]
async fn who_is_greeted_as_the_server_stops_is_told_that_it_goes_away() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).drain_grace(Duration::ZERO)).await;
    running.registered().await;
    let mut client = tokio::net::TcpStream::connect(running.handle.local_addr()).await.unwrap();
    let (kind, _) = within("it is greeted", frame(&mut client)).await.unwrap();
    assert_eq!(kind, SETTINGS);
    running.handle.shutdown();
    let is_over = |state: &ServerState| matches!(state, ServerState::Finishing | ServerState::Ended);
    within("it takes no more", running.handle.wait_until_state(is_over)).await;
    client.write_all(HELLO).await.unwrap();
    let told = within("an end", async {
        let mut kinds = Vec::new();
        while let Ok((kind, _)) = frame(&mut client).await {
            kinds.push(kind);
        }
        kinds
    });
    let kinds = told.await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    drop(client);
    running.ended().await.unwrap();
}

/// The kind and the payload of the next frame.
async fn frame(stream: &mut tokio::net::TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}
