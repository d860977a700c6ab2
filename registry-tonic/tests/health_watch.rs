//! What a channel makes of a server that cannot say any longer whether it serves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use registry_core::Directory;
use registry_core::backoff::Backoff;
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder, Connectivity, Ejection, EndpointStatus};
use support::echo::echo_server::EchoServer;
use support::listed::{Moody, instance_at, list, serve};
use support::server::{Running, quick};
use support::{PATIENCE, call, eventually, service, settled, shared, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Says that it serves, for as long as it is not broken.
#[derive(Clone)]
struct Brittle {
    broken: watch::Receiver<bool>,
    asked: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl Health for Brittle {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut broken = self.broken.clone();
        if *broken.borrow() {
            return Err(Status::internal("as I was told"));
        }
        let serves = HealthCheckResponse { status: ServingStatus::Serving as i32 };
        let breaks = async move {
            let _ = broken.wait_for(|broken| *broken).await;
            Err(Status::internal("as I was told"))
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(serves)]).chain(stream::once(breaks)))))
    }
}

/// A server, whether its health is broken, how often it was asked for it, and a registry that lists it.
async fn brittle(moody: &Moody) -> (MemoryRegistry, watch::Sender<bool>, Arc<AtomicU32>) {
    let (broken, breaks) = watch::channel(false);
    let asked = Arc::<AtomicU32>::default();
    let health = HealthServer::new(Brittle { broken: breaks, asked: Arc::clone(&asked) });
    let echo = EchoServer::new(moody.clone());
    let (at, _task) = serve(tonic::transport::Server::builder().add_service(echo).add_service(health));
    let registry = MemoryRegistry::new();
    list(&registry, instance_at(at)).await;
    (registry, broken, asked)
}

/// A server that greets its clients, and never answers them.
async fn mute() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Settings, of which there are none.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            held.push(stream);
        }
    });
    (at, task)
}

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    Channel::builder(Directory::new(shared(registry)).view(&service())).watch_health("")
}

fn does_not_serve(all: &[EndpointStatus]) -> bool {
    matches!(all, [one] if matches!(one.connectivity, Connectivity::NotServing { .. }))
}

#[tokio::test]
async fn who_cannot_say_any_longer_that_it_serves_gets_no_calls_until_it_can() {
    let (registry, broken, asked) = brittle(&Moody::new("a")).await;
    let channel = builder(&registry).build();
    settled(&channel, 1).await;
    broken.send_replace(true);
    channel.wait_until(PATIENCE, does_not_serve).await.unwrap();
    eventually("it is asked again", || asked.load(Ordering::SeqCst) >= 3).await;
    assert!(does_not_serve(&channel.endpoints()));
    broken.send_replace(false);
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "a");
}

/// Fails a call, as soon as what is said of its endpoint is this.
async fn said(channel: &Channel, words: &str) {
    let said = |all: &[EndpointStatus]| matches!(all, [one] if matches!(&one.connectivity, Connectivity::NotServing { reason } if **reason == *words));
    let found = channel.wait_until(PATIENCE, said).await;
    found.unwrap_or_else(|last| panic!("{words:?} is never said: {last:?}"));
    let status = call(channel, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
}

#[tokio::test]
async fn what_a_server_says_of_its_health_is_what_callers_are_told() {
    let impatient = |registry| builder(registry).wait_for_ready(Duration::from_millis(50));
    let (registry, broken, _) = brittle(&Moody::new("a")).await;
    broken.send_replace(true);
    said(&impatient(&registry).build(), "cannot be asked about its health: Internal, as I was told").await;

    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry))).await;
    running.registered().await;
    let channel = impatient(&registry).watch_health("user.Users").build();
    said(&channel, r#"says that it knows nothing of the health of "user.Users""#).await;

    let (at, _task) = mute().await;
    let registry = MemoryRegistry::new();
    list(&registry, instance_at(at)).await;
    said(&impatient(&registry).silent_after(PATIENCE).build(), "has not said yet that it serves").await;
}

#[tokio::test]
async fn it_is_asked_again_after_the_back_off_whatever_happens_meanwhile() {
    const CALLS: u32 = 10;
    let moody = Moody::new("a");
    let (registry, broken, asked) = brittle(&moody).await;
    let patient = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
    let channel = builder(&registry).backoff(patient).ejection(Ejection::default().with_after(1)).build();
    settled(&channel, 1).await;
    // Each of them is a reason to eject it, one after the other; it is the only one, so it stays.
    moody.answer(Code::Unavailable);
    let calls: Vec<_> = (0..CALLS)
        .map(|nth| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel, 300 + 30 * u64::from(nth)).await })
        })
        .collect();
    eventually("they have begun", || moody.begun() == CALLS).await;
    broken.send_replace(true);
    channel.wait_until(PATIENCE, does_not_serve).await.unwrap();
    for call in calls {
        within("an answer", call).await.unwrap().unwrap_err();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
