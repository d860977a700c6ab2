//! A gRPC server that registers itself.

mod advertise;
mod builder;
mod calls;
mod connection;
mod connections;
mod error;
mod handle;
mod health_check;
mod health_service;
mod life;
mod listen;
mod network;
#[cfg(feature = "reflection")]
mod reflection;
mod registrars;
mod services;
mod signals;
mod state;
#[cfg(feature = "tls")]
mod tls;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use registry_core::{Instance, Registry, ServiceName};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use self::advertise::{NetworkInterface, advertised_host};
pub use self::builder::{Mode, ServerBuilder};
pub use self::error::ServerError;
pub use self::handle::ServerHandle;
pub use self::health_check::HealthCheck;
pub use self::state::ServerState;
#[cfg(feature = "tls")]
pub use self::tls::ServerTls;

use self::connections::{Connections, incoming};
use self::handle::Open;
use self::life::Plan;
use self::services::Extras;

type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that listens, and that will be registered once it serves.
///
/// Its life: [`bind`](ServerBuilder::bind) makes it listen, on a port of its own if asked, and decides what to advertise;
/// [`serve`](Self::serve) serves, and registers once it is healthy. On SIGTERM, SIGINT or [`ServerHandle::shutdown`] it
/// 1. says `NOT_SERVING` to who asks for its health, is marked as draining, and serves on for the grace, so that clients move away;
/// 2. is deregistered;
/// 3. takes no more calls, and finishes those in flight, within a bound.
///
/// A second signal, or asking a second time, cuts the present step short. All of it takes at most
/// [`drain_grace`](ServerBuilder::drain_grace), twice the
/// [`shutdown_timeout`](registry_core::RegistrarOptions::shutdown_timeout) of its registrar, and
/// [`finish_within`](ServerBuilder::finish_within).
///
/// A registry that is down neither keeps it from serving nor from stopping, and does not make it unhealthy.
pub struct Server {
    listener: TcpListener,
    open: Open,
    extras: Extras,
    #[cfg(feature = "tls")]
    tls: Option<tls::Acceptor>,
    plan: Plan,
}

impl Server {
    /// Starts a server that registers with `registry` as a copy of `service`; a bad name is told by [`ServerBuilder::bind`].
    pub fn builder<S>(registry: Arc<dyn Registry>, service: S) -> ServerBuilder
    where
        S: TryInto<ServiceName>,
        S::Error: Into<registry_core::Error>,
    {
        ServerBuilder::new(registry, Instance::builder(service))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.open.0.local_addr()
    }

    /// What it will register; with several services, as a copy of the first.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.open.0.instance()
    }

    /// For stopping it, and for seeing how it stands with the registry.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.open.0.clone()
    }

    /// Serves `router` until it is asked to stop, and stops in order. The gRPC services that the [builder](ServerBuilder) was asked for,
    /// by default that of health, are added to the router, behind its layers.
    ///
    /// # Errors
    /// [`Invalid`](ServerError::Invalid) when the router has a service already that is to be added;
    /// [`Fenced`](ServerError::Fenced) when another process took an id of it over;
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
        let Self { listener, open, extras, plan, .. } = self;
        let router = extras.add_to(router, &open.0)?;
        let connections = Connections::default();
        let (stopper, asked) = oneshot::channel();
        let (counted, stop) = (connections.clone(), Stop { asked });
        #[cfg(feature = "tls")]
        if let Some(acceptor) = self.tls {
            let incoming = connections::secure_incoming(listener, counted, acceptor);
            let serving = router.serve_with_incoming_shutdown(incoming, stop);
            return life::live(serving, stopper, open, Some(connections), plan).await;
        }
        let serving = router.serve_with_incoming_shutdown(incoming(listener, counted), stop);
        life::live(serving, stopper, open, Some(connections), plan).await
    }

    /// As [`serve`](Self::serve), with any server: `serve` gets the listener, and a future that completes when it is to take no
    /// more calls and to finish those in flight. The server counts as serving once the future that it gives has been polled.
    ///
    /// It speaks TLS by itself, if it does: [`ServerBuilder::tls`](ServerBuilder) is refused here.
    /// No gRPC services are added to it, not even that of health: see [`ServerHandle::wait_until_state`] for one of its own. And since its
    /// connections are not known, a drain takes the whole grace.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_with<F, S, E>(self, serve: S) -> Result<(), ServerError>
    where
        S: FnOnce(TcpListener, Stop) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            let reason = "is given, and the server that is served does not know of it";
            return Err(ServerError::Invalid(registry_core::Error::invalid("tls", reason)));
        }
        let Self { listener, open, plan, .. } = self;
        let (stopper, asked) = oneshot::channel();
        life::live(serve(listener, Stop { asked }), stopper, open, None, plan).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("handle", &self.open.0).finish_non_exhaustive()
    }
}

/// Completes when a server is to take no more calls and to finish those in flight.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Stop {
    asked: oneshot::Receiver<()>,
}

impl Future for Stop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        Pin::new(&mut self.asked).poll(cx).map(drop)
    }
}
