//! How long a channel trusts an endpoint of which nothing is heard, and how soon it is back at one that hangs up, on a clock of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry_core::{Directory, Endpoint};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder, Connect, Stream};
use support::echo::echo_server::EchoServer;
use support::listed::{instance_at, list};
use support::{Named, call, service, settled, shared};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

/// Connects to a server in memory, and counts how often.
struct InMemory {
    accepts: mpsc::Sender<io::Result<DuplexStream>>,
    connections: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Connect for InMemory {
    async fn connect(&self, _: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let (ours, theirs) = duplex(1 << 16);
        self.accepts.send(Ok(theirs)).await.map_err(io::Error::other)?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(ours))
    }
}

/// A channel to a server in memory, and how often it has connected.
async fn channel(
    server: tonic::transport::Server,
    change: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> (Channel, Arc<AtomicUsize>) {
    let registry = MemoryRegistry::new();
    let (accepts, accepted) = mpsc::channel(16);
    let connections = Arc::<AtomicUsize>::default();
    let router = { server }.add_service(EchoServer::new(Named::new("a")));
    tokio::spawn(async move { router.serve_with_incoming(ReceiverStream::new(accepted)).await.unwrap() });
    list(&registry, instance_at("127.0.0.1:1".parse().unwrap())).await;
    let view = Directory::new(shared(&registry)).view(&service());
    let connect = InMemory { accepts, connections: Arc::clone(&connections) };
    let channel = change(Channel::builder(view).connector(connect)).build();
    settled(&channel, 1).await;
    (channel, connections)
}

#[tokio::test(start_paused = true)]
async fn who_answers_slowly_is_trusted_longer_and_not_for_ever() {
    let (channel, connections) = channel(Server::builder(), |builder| builder).await;
    let connections = || connections.load(Ordering::SeqCst);
    // Looked after when it was silent for 0.5 s, 1 s and 2 s.
    for expected in [2, 3, 4, 4, 4] {
        call(&channel, 3000).await.unwrap();
        assert_eq!(connections(), expected);
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    call(&channel, 900).await.unwrap();
    assert_eq!(connections(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_is_trusted_for_no_time_at_all_is_not_connected_to_without_end() {
    let (channel, connections) =
        channel(Server::builder(), |builder| builder.silent_after(Duration::ZERO)).await;
    call(&channel, 3000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections < 20, "{connections} connections");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_after_some_time_again_and_again_is_called_again_at_once() {
    const AGE: Duration = Duration::from_millis(200);
    let server = Server::builder().max_connection_age(AGE);
    let (channel, connections) = channel(server, |builder| builder).await;
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < 50 * AGE {
        let called = Instant::now();
        call(&channel, 5).await.unwrap();
        longest = longest.max(called.elapsed());
    }
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections >= 30, "{connections} connections");
    assert!(longest < Duration::from_millis(100), "a call took {longest:?}");
}
