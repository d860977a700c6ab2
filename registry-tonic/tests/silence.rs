//! How long a channel trusts an endpoint of which nothing is heard, and how soon it is back at one that hangs up, on a clock of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::Directory;
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder};
use support::echo::echo_server::EchoServer;
use support::in_memory::InMemory;
use support::listed::list;
use support::{Named, call, service, settled, shared};
use tokio::time::Instant;
use tonic::transport::Server;

/// A channel to a server in memory, and what counts how often it has connected.
async fn channel(
    server: tonic::transport::Server,
    change: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> (Channel, InMemory) {
    let (registry, memory) = (MemoryRegistry::new(), InMemory::default());
    let router = { server }.add_service(EchoServer::new(Named::new("a")));
    list(&registry, memory.serve(router)).await;
    let view = Directory::new(shared(&registry)).view(&service());
    let channel = change(Channel::builder(view).connector(memory.clone())).build();
    settled(&channel, 1).await;
    (channel, memory)
}

#[tokio::test(start_paused = true)]
async fn who_answers_slowly_is_trusted_longer_and_not_for_ever() {
    let (channel, memory) = channel(Server::builder(), |builder| builder).await;
    // Looked after when it was silent for 0.5 s, 1 s and 2 s.
    for expected in [2, 3, 4, 4, 4] {
        call(&channel, 3000).await.unwrap();
        assert_eq!(memory.connections(), expected);
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    call(&channel, 900).await.unwrap();
    assert_eq!(memory.connections(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_is_trusted_for_no_time_at_all_is_not_connected_to_without_end() {
    let (channel, memory) = channel(Server::builder(), |builder| builder.silent_after(Duration::ZERO)).await;
    call(&channel, 3000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let connections = memory.connections();
    assert!(connections < 20, "{connections} connections");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_after_some_time_again_and_again_is_called_again_at_once() {
    const AGE: Duration = Duration::from_millis(200);
    let server = Server::builder().max_connection_age(AGE);
    let (channel, memory) = channel(server, |builder| builder).await;
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < 50 * AGE {
        let called = Instant::now();
        call(&channel, 5).await.unwrap();
        longest = longest.max(called.elapsed());
    }
    let connections = memory.connections();
    assert!(connections >= 30, "{connections} connections");
    assert!(longest < Duration::from_millis(100), "a call took {longest:?}");
}
