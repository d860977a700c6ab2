//! A gRPC server that registers itself.

mod advertise;
mod error;
mod handle;
mod life;
mod network;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Instance, InstanceBuilder, InstanceId, RegistrarOptions, Registry, ServiceName, Ttl, Version, Zone,
};
use tokio::net::TcpListener;

use self::advertise::Advertise;
pub use self::advertise::{NetworkInterface, advertised_host};
pub use self::error::ServerError;
pub use self::handle::ServerHandle;

type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that listens, and that will be registered once it serves.
///
/// Its life: [`bind`](ServerBuilder::bind) makes it listen, on a port of its own if asked, and decides what to advertise;
/// [`serve`](Self::serve) serves and registers. On SIGTERM, SIGINT or [`ServerHandle::shutdown`] it
/// 1. is marked as draining, and serves on for the grace, so that clients move away;
/// 2. is deregistered;
/// 3. takes no more calls, and finishes those in flight, within a bound.
///
/// A second signal, or asking a second time, cuts the present step short.
///
/// A registry that is down neither keeps it from serving nor from stopping.
pub struct Server {
    listener: TcpListener,
    handle: ServerHandle,
    plan: Plan,
}

/// What a server does once it serves.
struct Plan {
    registry: Arc<dyn Registry>,
    registrar: RegistrarOptions,
    /// `None`: signals.
    shutdown: Option<Shutdown>,
    drain_grace: Duration,
    finish_within: Duration,
}

impl Server {
    /// Starts a server that registers with `registry` as a copy of `service`; a bad name is told by [`ServerBuilder::bind`].
    pub fn builder<S>(registry: Arc<dyn Registry>, service: S) -> ServerBuilder
    where
        S: TryInto<ServiceName>,
        S::Error: Into<registry_core::Error>,
    {
        ServerBuilder {
            listen: "[::]:0".into(),
            advertise: Advertise::Found,
            instance: Instance::builder(service),
            plan: Plan {
                registry,
                registrar: RegistrarOptions::default(),
                shutdown: None,
                drain_grace: Duration::from_secs(3),
                finish_within: Duration::from_secs(10),
            },
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// What it will register.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.handle.instance()
    }

    /// For stopping it, and for seeing how it stands with the registry.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves `router` until it is asked to stop, and stops in order.
    ///
    /// # Errors
    /// [`Fenced`](ServerError::Fenced) when another process took its id over;
    /// [`Unregistered`](ServerError::Unregistered) when what it publishes is refused for good;
    /// [`Serving`](ServerError::Serving); [`Unfinished`](ServerError::Unfinished).
    ///
    /// # Dropping the future
    /// It stops listening and deregisters in the background; connections close once their calls have ended.
    ///
    /// # Calls that do not end
    /// After [`ServerBuilder::finish_within`] this returns; what still runs ends with the runtime.
    pub async fn serve<L, B>(self, router: tonic::transport::server::Router<L>) -> Result<(), ServerError>
    where
        L: tower_layer::Layer<tonic::service::Routes> + Send + 'static,
        L::Service: tower_service::Service<http::Request<tonic::body::Body>, Response = http::Response<B>>
            + Clone
            + Send
            + 'static,
        <L::Service as tower_service::Service<http::Request<tonic::body::Body>>>::Future: Send,
        <L::Service as tower_service::Service<http::Request<tonic::body::Body>>>::Error:
            Into<Box<dyn StdError + Send + Sync>> + Send,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.serve_with(|listener, stop| {
            let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, stop)
        })
        .await
    }

    /// As [`serve`](Self::serve), with any server: `serve` gets the listener, and a future that completes when it is to take no
    /// more calls and to finish those in flight. The server counts as serving once the future that it gives has been polled.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_with<F, S, E>(self, serve: S) -> Result<(), ServerError>
    where
        S: FnOnce(TcpListener, Stop) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Self { listener, handle, plan } = self;
        let (stopper, stop) = tokio::sync::oneshot::channel();
        let serving = serve(listener, Stop { asked: stop });
        life::live(serving, stopper, &handle, plan).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Completes when a server is to take no more calls and to finish those in flight.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Stop {
    asked: tokio::sync::oneshot::Receiver<()>,
}

impl Future for Stop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        Pin::new(&mut self.asked).poll(cx).map(drop)
    }
}

/// Collects what a [`Server`] listens on, publishes and does; what is wrong is told by [`bind`](Self::bind).
#[must_use]
pub struct ServerBuilder {
    listen: String,
    advertise: Advertise,
    instance: InstanceBuilder,
    plan: Plan,
}

impl ServerBuilder {
    /// The address to listen on: `host:port`, or `:port` for every address of the machine, IPv6 and IPv4. Port 0 is one that is free.
    /// Default: `[::]:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The address to advertise instead of what [`advertised_host`] finds: a host, or `host:port` where clients see
    /// another port than the one listened on. Takes the place of [`advertise_from`](Self::advertise_from).
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Advertise::Address(address.into());
        self
    }

    /// Where the address to advertise is to be from, on a machine that has several: the name of an interface, such as `eth0`, or a network in
    /// CIDR notation, such as `10.0.0.0/8` or `fd00::/8`. Of several addresses there, the one that
    /// [`advertised_host`] prefers. `POD_IP` does not matter then. Takes the place of
    /// [`advertise`](Self::advertise).
    ///
    /// Where nothing matches, [`bind`](Self::bind) fails, and its error lists what there is.
    pub fn advertise_from(mut self, network: impl Into<String>) -> Self {
        self.advertise = Advertise::From(network.into());
        self
    }

    /// The instance id; by default the advertised `host:port`.
    pub fn id<I>(mut self, id: I) -> Self
    where
        I: TryInto<InstanceId>,
        I::Error: Into<registry_core::Error>,
    {
        self.instance = self.instance.id(id);
        self
    }

    /// The version of the software.
    pub fn version<V>(mut self, version: V) -> Self
    where
        V: TryInto<Version>,
        V::Error: Into<registry_core::Error>,
    {
        self.instance = self.instance.version(version);
        self
    }

    /// Where it runs.
    pub fn zone<Z>(mut self, zone: Z) -> Self
    where
        Z: TryInto<Zone>,
        Z::Error: Into<registry_core::Error>,
    {
        self.instance = self.instance.zone(zone);
        self
    }

    /// The share of calls it wants.
    pub fn weight(mut self, weight: u32) -> Self {
        self.instance = self.instance.weight(weight);
        self
    }

    /// Sets the metadata pair `key`.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.instance = self.instance.metadata(key, value);
        self
    }

    /// The TTL of its registration.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.plan.registrar = self.plan.registrar.with_ttl(ttl);
        self
    }

    /// How its registrar behaves, the TTL included.
    pub fn registrar(mut self, options: RegistrarOptions) -> Self {
        self.plan.registrar = options;
        self
    }

    /// How long it serves on after it was marked as draining. Default: 3 s. Longer than the changes of the registry take to reach
    /// clients.
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.plan.drain_grace = grace;
        self
    }

    /// How long calls in flight have to finish once it takes no more. Default: 10 s.
    pub fn finish_within(mut self, bound: Duration) -> Self {
        self.plan.finish_within = bound;
        self
    }

    /// Stops when this completes, instead of on SIGTERM and SIGINT. [`ServerHandle::shutdown`] works as well.
    pub fn shutdown_on(mut self, shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        self.plan.shutdown = Some(Box::pin(shutdown));
        self
    }

    /// Listens, and decides what to advertise. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Listen`](ServerError::Listen); [`Invalid`](ServerError::Invalid), with the field and the reason.
    pub async fn bind(self) -> Result<Server, ServerError> {
        let (listener, local_addr) = listen(&self.listen)
            .await
            .map_err(|source| ServerError::Listen { address: self.listen.clone(), source })?;
        let endpoint = advertise::endpoint(local_addr, &self.advertise).map_err(ServerError::Invalid)?;
        let instance = self.instance.endpoint(endpoint.to_string()).build().map_err(ServerError::Invalid)?;
        tracing::info!(%local_addr, service = %instance.service(), id = %instance.id(), "listening");
        Ok(Server { listener, handle: ServerHandle::new(local_addr, instance), plan: self.plan })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

async fn listen(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = match address.strip_prefix(':') {
        Some(port) if !port.contains(':') => anywhere(port).await?,
        _ if address == "[::]:0" => anywhere("0").await?,
        _ => TcpListener::bind(address).await?,
    };
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// Every address of the machine; on one without IPv6, every IPv4 address.
async fn anywhere(port: &str) -> std::io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
