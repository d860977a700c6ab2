//! Real servers on loopback, and calls to them.
#![allow(dead_code)] // Each test binary uses its own part.

pub(crate) mod authority;
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod echo;
pub(crate) mod in_memory;
pub(crate) mod listed;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use echo::echo_client::EchoClient;
use echo::echo_server::{Echo, EchoServer};
use echo::{Reply, Request};
use futures_util::Stream;
use registry_core::{Registry, ServiceName, Ttl};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, Server, ServerBuilder, ServerError, ServerHandle};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Response, Status};

pub(crate) const SERVICE: &str = "echo.rpc";

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn service() -> ServiceName {
    SERVICE.parse().unwrap()
}

pub(crate) fn shared(registry: &MemoryRegistry) -> Arc<dyn Registry> {
    Arc::new(registry.clone())
}

/// Waits for a condition that nothing tells of.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// The service, which says who answers.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// How many calls have begun.
    pub(crate) begun: Arc<AtomicU32>,
}

impl Named {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, begun: Arc::default() }
    }

    pub(crate) fn router(&self) -> tonic::transport::server::Router {
        tonic::transport::Server::builder().add_service(EchoServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl Echo for Named {
    async fn call(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let client = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(request.get_ref().after_ms)).await;
        let mut response = Response::new(Reply { server: self.name.into() });
        response.metadata_mut().insert("client", client.parse().unwrap());
        Ok(response)
    }

    type StreamStream = Pin<Box<dyn Stream<Item = Result<Reply, Status>> + Send>>;

    async fn stream(&self, request: tonic::Request<Request>) -> Result<Response<Self::StreamStream>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let Request { after_ms, replies } = request.into_inner();
        let name = self.name;
        Ok(Response::new(Box::pin(futures_util::stream::unfold(0, move |sent| async move {
            if sent == replies {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            Some((Ok(Reply { server: name.into() }), sent + 1))
        }))))
    }
}

/// A server with a runtime of its own, as if it were a process of its own. It ends when this is dropped, at the latest.
pub(crate) struct Process {
    pub(crate) handle: ServerHandle,
    pub(crate) named: Named,
    held: oneshot::Sender<()>,
    outcome: oneshot::Receiver<Result<(), ServerError>>,
}

impl Process {
    /// Starts a server, and waits until it is registered.
    pub(crate) async fn start(registry: &MemoryRegistry, name: &'static str) -> Self {
        let process = Self::start_with(registry, name, |builder| builder).await;
        within("registered", process.handle.wait_until(|state| state.is_registered())).await;
        process
    }

    pub(crate) async fn start_with(
        registry: &MemoryRegistry,
        name: &'static str,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        Self::start_on(shared(registry), name, change).await
    }

    /// The same, with any registry.
    pub(crate) async fn start_on(
        registry: Arc<dyn Registry>,
        name: &'static str,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let builder = Server::builder(registry, SERVICE)
            .listen("127.0.0.1:0")
            .ttl(Ttl::from_secs(1).unwrap())
            .drain_grace(Duration::from_millis(200))
            .shutdown_on(std::future::pending());
        let builder = change(builder);
        let named = Named::new(name);
        let router = named.router();
        let (tell, told) = oneshot::channel();
        let (held, dropped) = oneshot::channel::<()>();
        let (end, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = builder.bind().await.unwrap();
                let _ = tell.send(server.handle());
                let served = tokio::spawn(server.serve(router));
                tokio::select! {
                    outcome = served => drop(end.send(outcome.unwrap())),
                    _ = dropped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { handle: told.await.unwrap(), named, held, outcome }
    }

    pub(crate) fn begun(&self) -> u32 {
        self.named.begun.load(Ordering::SeqCst)
    }

    /// Waits for the end of the server's future.
    pub(crate) async fn ended(self) -> Result<(), ServerError> {
        let Self { held: _held, outcome, .. } = self;
        within("the server's end", outcome).await.unwrap()
    }
}

pub(crate) async fn call(channel: &Channel, after_ms: u64) -> Result<String, Status> {
    let reply = EchoClient::new(channel.clone()).call(Request { after_ms, replies: 0 }).await?;
    Ok(reply.into_inner().server)
}

/// The client's address as the server saw it.
pub(crate) async fn client_address(channel: &Channel) -> String {
    let reply = EchoClient::new(channel.clone()).call(Request::default()).await.unwrap();
    reply.metadata().get("client").unwrap().to_str().unwrap().to_owned()
}

/// Waits until `ready` endpoints can be called and no others are listed.
pub(crate) async fn settled(channel: &Channel, ready: usize) {
    let settled = channel.wait_until(PATIENCE, |endpoints| {
        endpoints.len() == ready && endpoints.iter().all(|endpoint| endpoint.is_ready())
    });
    settled.await.unwrap_or_else(|last| panic!("never {ready} ready endpoints: {last:?}"));
}

/// Calls without a break, from several callers, until told to stop.
pub(crate) struct Load {
    stop: tokio::sync::watch::Sender<bool>,
    callers: Vec<tokio::task::JoinHandle<Tally>>,
    pub(crate) answered: Arc<AtomicU32>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answers: BTreeMap<String, u32>,
    pub(crate) failures: Vec<Status>,
}

impl Load {
    pub(crate) fn start(channel: &Channel, callers: usize, after_ms: u64) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let answered = Arc::new(AtomicU32::new(0));
        let caller = |_| {
            let (channel, stopped, answered) = (channel.clone(), stopped.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut tally = Tally::default();
                while !*stopped.borrow() {
                    match call(&channel, after_ms).await {
                        Ok(server) => *tally.answers.entry(server).or_default() += 1,
                        Err(status) => tally.failures.push(status),
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                tally
            })
        };
        Self { callers: (0..callers).map(caller).collect(), stop, answered }
    }

    /// Waits until `more` calls have been answered from now.
    pub(crate) async fn goes_on(&self, more: u32) {
        let goal = self.answered.load(Ordering::SeqCst) + more;
        eventually("calls go on", || self.answered.load(Ordering::SeqCst) >= goal).await;
    }

    pub(crate) async fn stop(self) -> Tally {
        self.stop.send_replace(true);
        let mut total = Tally::default();
        for caller in self.callers {
            let tally = within("callers stop", caller).await.unwrap();
            total.failures.extend(tally.failures);
            for (server, count) in tally.answers {
                *total.answers.entry(server).or_default() += count;
            }
        }
        total
    }
}

pub(crate) mod server;
