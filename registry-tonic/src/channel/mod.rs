//! What a generated client calls through.

mod call;
mod connection;
mod error;
mod load;
mod peer;
mod pick;
mod pool;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use registry_core::backoff::Backoff;
use registry_core::pick::Draw;
use registry_core::time::later;
use registry_core::{Directory, Endpoint, InstanceId, ServiceName, Status, View};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

pub use self::call::{ResponseBody, ResponseFuture};
pub use self::error::{CallError, CallErrorKind};
use self::peer::{Connecting, Link};
use self::pool::{Board, Member, Pool};

/// A balanced channel to the instances of one service: give it to a generated client (`UserClient::new(channel)`). Cheap to clone; clones
/// share the connections, which close with the last clone and the last call.
///
/// - It is connected to every instance before there is traffic, and follows the [`View`] with or without it. While the registry is away,
///   it goes on with the last known instances.
/// - Each call goes to the less costly of two connected instances, drawn by weight: cost is the latency expected, times the calls in
///   flight there for its weight. Instances that are draining get calls only when there is no other; those with weight 0 never.
/// - A request that was never sent goes to another instance. One that may have been sent does not.
/// - With nobody to call it waits, by default 2 s ([`ChannelBuilder::wait_for_ready`]), and then fails with `UNAVAILABLE` and the reason.
/// - An instance that is removed gets no more calls, and those in flight on it finish.
/// - The deadline of a call (tonic: `Request::set_timeout`) holds until the end of its answer, and gives `DEADLINE_EXCEEDED`.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    view: View,
    board: Arc<Board>,
    draw: Draw,
    wait_for_ready: Duration,
    pool: AbortHandle,
}

impl Channel {
    /// A channel to the instances of `service`, with the defaults. Connects in the background.
    ///
    /// Must be called within a tokio runtime, whose tasks keep the channel up to date.
    #[must_use]
    pub fn new(directory: &Directory, service: &ServiceName) -> Self {
        Self::builder(directory.view(service)).build()
    }

    /// Starts a channel to the instances in `view`.
    pub fn builder(view: View) -> ChannelBuilder {
        ChannelBuilder {
            view,
            wait_for_ready: Duration::from_secs(2),
            connecting: Connecting { timeout: Duration::from_secs(1), backoff: Backoff::default() },
            draw: Draw::from_entropy(),
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        self.inner.view.service()
    }

    /// The view that the channel follows.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// The endpoints at present, ordered by instance id. Instances with weight 0 are not among them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let now = Instant::now();
        self.inner.board.load().members.iter().map(|member| EndpointStatus::of(member, now)).collect()
    }

    /// Waits until an endpoint can be called, for as long as a call would.
    ///
    /// # Errors
    /// What a call would fail with.
    pub async fn ready(&self) -> Result<(), CallError> {
        call::candidate(&self.inner, later(Instant::now(), self.inner.wait_for_ready)).await.map(drop)
    }

    /// Waits, at most `within`, until the endpoints satisfy `wanted`, and gives them; `Err` with the last ones if they do not. Looks
    /// whenever endpoints come, go, connect or disconnect.
    ///
    /// # Errors
    /// The endpoints at the end of the wait.
    pub async fn wait_until(
        &self,
        within: Duration,
        mut wanted: impl FnMut(&[EndpointStatus]) -> bool,
    ) -> Result<Vec<EndpointStatus>, Vec<EndpointStatus>> {
        let deadline = later(Instant::now(), within);
        let mut changed = self.inner.board.subscribe();
        loop {
            let endpoints = self.endpoints();
            if wanted(&endpoints) {
                return Ok(endpoints);
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Err(endpoints);
            }
        }
    }
}

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = CallError;
    type Future = ResponseFuture;

    /// Always ready: the wait for an endpoint is part of the call, where it has a deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> ResponseFuture {
        ResponseFuture::new(Arc::clone(&self.inner), request)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.abort();
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("service", self.service())
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}

/// Collects how a [`Channel`] behaves.
#[derive(Debug)]
#[must_use]
pub struct ChannelBuilder {
    view: View,
    wait_for_ready: Duration,
    connecting: Connecting,
    draw: Draw,
}

impl ChannelBuilder {
    /// How long a call waits for an endpoint before it fails. Default: 2 s.
    pub fn wait_for_ready(mut self, wait: Duration) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// How long an endpoint may take to accept a connection and say hello. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connecting.timeout = timeout;
        self
    }

    /// The waits between attempts to connect to an endpoint. Default: 50 ms to 1 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.connecting.backoff = backoff;
        self
    }

    /// The seed of what is drawn: picks and jitter. Default: from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.draw = Draw::with_seed(seed);
        self
    }

    /// The channel. Connects in the background.
    ///
    /// Must be called within a tokio runtime, whose tasks keep the channel up to date.
    #[must_use]
    pub fn build(self) -> Channel {
        let board = Board::new();
        let seeds = Draw::with_seed(self.draw.next());
        let pool = Pool::new(self.view.clone(), Arc::clone(&board), self.connecting, seeds);
        let pool = tokio::spawn(pool.run()).abort_handle();
        let (view, draw, wait_for_ready) = (self.view, self.draw, self.wait_for_ready);
        Channel { inner: Arc::new(Inner { view, board, draw, wait_for_ready, pool }) }
    }
}

/// Whether a [`Channel`] is connected to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connectivity {
    /// Connected.
    Ready,
    /// Being connected.
    Connecting {
        /// What the last attempt, or the last connection, ended with.
        error: Option<Arc<str>>,
    },
}

/// One endpoint of a [`Channel`] at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The instance.
    pub id: InstanceId,
    /// Where it is called.
    pub endpoint: Endpoint,
    /// The share of calls it wants.
    pub weight: u32,
    /// Whether it wants calls at all.
    pub status: Status,
    /// Whether it can be called.
    pub connectivity: Connectivity,
    /// Calls that were sent to it and whose answers have not ended.
    pub in_flight: u32,
    /// How long it is expected to take to answer.
    pub latency: Duration,
}

impl EndpointStatus {
    fn of(member: &Member, now: Instant) -> Self {
        let peer = &member.peer;
        let connectivity = match peer.link() {
            Link::Up(connection) if !connection.is_closed() => Connectivity::Ready,
            Link::Connecting { error } => Connectivity::Connecting { error },
            Link::Up(_) | Link::Removed => Connectivity::Connecting { error: None },
        };
        Self {
            id: peer.id().clone(),
            endpoint: peer.endpoint().clone(),
            weight: member.weight,
            status: member.status,
            connectivity,
            in_flight: peer.load.in_flight(),
            latency: peer.load.latency(now),
        }
    }

    /// Whether it can be called.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connectivity == Connectivity::Ready
    }
}
