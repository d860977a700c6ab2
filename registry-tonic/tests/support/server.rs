//! Servers on the runtime of the test, over any registry, and what they say of their health.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use registry_core::{
    Cursor, Guarantees, Instance, Lease, Operation, RegisterOptions, Registration, Registry, Result,
    Revision, ServiceName, Snapshot, Ttl, Watch,
};
use registry_memory::MemoryRegistry;
use registry_tonic::{Server, ServerBuilder, ServerError, ServerHandle};
use tonic::transport::server::Router;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{Named, SERVICE, within};

/// A server that leaves quickly, and that no signal stops.
pub(crate) fn quick(registry: Arc<dyn Registry>) -> ServerBuilder {
    Server::builder(registry, SERVICE)
        .listen("127.0.0.1:0")
        .ttl(Ttl::from_secs(1).unwrap())
        .drain_grace(Duration::from_millis(200))
        .shutdown_on(std::future::pending())
}

/// A server that serves.
pub(crate) struct Running {
    pub(crate) handle: ServerHandle,
    pub(crate) named: Named,
    serving: tokio::task::JoinHandle<std::result::Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start(builder: ServerBuilder) -> Self {
        Self::start_as("a", builder, Named::router).await
    }

    /// The same under a name, behind what `router` makes of it.
    pub(crate) async fn start_as(
        name: &'static str,
        builder: ServerBuilder,
        router: impl FnOnce(&Named) -> Router,
    ) -> Self {
        let server = builder.bind().await.unwrap();
        let (handle, named) = (server.handle(), Named::new(name));
        let serving = tokio::spawn(server.serve(router(&named)));
        Self { handle, named, serving }
    }

    pub(crate) async fn registered(&self) {
        within("registered", self.handle.wait_until(|state| state.is_registered())).await;
    }

    /// Waits for the end of the server's future.
    pub(crate) async fn ended(self) -> std::result::Result<(), ServerError> {
        within("the server's end", self.serving).await.unwrap()
    }

    pub(crate) async fn health(&self, name: &str) -> std::result::Result<ServingStatus, Code> {
        health_at(self.handle.local_addr(), name).await.map_err(|status| status.code())
    }
}

async fn health_client(address: SocketAddr) -> HealthClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(within("connected", endpoint.connect()).await.unwrap())
}

fn about(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.into() }
}

/// What the server at `address` says of the health of `name`.
pub(crate) async fn health_at(address: SocketAddr, name: &str) -> std::result::Result<ServingStatus, Status> {
    let answer = health_client(address).await.check(about(name)).await?;
    Ok(answer.into_inner().status())
}

/// The health of one name, as it changes.
pub(crate) struct HealthWatch(Streaming<HealthCheckResponse>);

impl HealthWatch {
    pub(crate) async fn open(address: SocketAddr, name: &str) -> Self {
        Self(health_client(address).await.watch(about(name)).await.unwrap().into_inner())
    }

    /// `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<ServingStatus> {
        let next = within("the next health", self.0.message()).await.unwrap();
        next.map(|response| response.status())
    }
}

type Hook = Box<dyn Fn(Operation, Option<Instance>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A registry that runs a hook before each registration, update and deregistration.
pub(crate) struct Hooked {
    inner: MemoryRegistry,
    hook: Hook,
}

impl Hooked {
    pub(crate) fn new(
        inner: &MemoryRegistry,
        hook: impl Fn(Operation, Option<Instance>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), hook: Box::new(hook) })
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hooked").field(&self.inner).finish()
    }
}

#[tonic::async_trait]
impl Registry for Hooked {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        (self.hook)(Operation::Register, Some(instance.clone())).await;
        self.inner.register(instance, options).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.inner.keepalive(lease).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        (self.hook)(Operation::Update, Some(instance.clone())).await;
        self.inner.update(lease, instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        (self.hook)(Operation::Deregister, None).await;
        self.inner.deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.inner.lookup(service).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
