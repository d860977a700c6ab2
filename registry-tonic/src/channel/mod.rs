//! What a generated client calls through.

mod builder;
mod call;
mod connect;
mod connection;
mod deadline;
mod eject;
mod error;
mod health;
#[cfg(feature = "internals")]
pub(crate) mod internals;
mod keeper;
mod lineup;
mod load;
#[cfg(feature = "metrics")]
mod metered;
mod outcome;
mod peer;
mod pick;
mod pool;
mod replay;
mod retry;
mod silence;
mod slow_start;
mod status;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use registry_core::time::later;
use registry_core::{Directory, ServiceName, View};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

pub use self::builder::ChannelBuilder;
pub use self::call::{ResponseBody, ResponseFuture};
pub use self::connect::{Connect, Stream};
pub use self::eject::Ejection;
pub use self::error::{CallError, CallErrorKind};
use self::lineup::Wanted;
use self::pick::Picker;
pub use self::pick::Policy;
use self::pool::Board;
pub use self::retry::Retry;
pub use self::status::{Connectivity, EndpointStatus};

/// A balanced channel to the instances of one service: give it to a generated client (`UserClient::new(channel)`). Cheap to clone; clones
/// share the connections, which close with the last clone and the last call.
///
/// - It is connected to every instance before there is traffic, and follows the [`View`] with or without it. While the registry is away,
///   it goes on with the last known instances.
/// - Each call goes to a connected instance that is drawn by weight, unless a second one costs clearly less: cost is the latency expected, times the
///   calls in flight there for its weight ([`Policy`] names the alternatives). Instances that are draining get calls only when there is no other; those
///   with weight 0 never.
/// - Newcomers get their share little by little ([`ChannelBuilder::slow_start`]).
/// - An instance whose calls fail in a row is ejected, and tried again after a back-off ([`Ejection`]); one that has fallen silent while answers
///   are due gets no calls either, and is ejected unless it can be connected to anew ([`ChannelBuilder::silent_after`]).
/// - A request that was never sent, or that its server says it has not looked at, goes to another instance; also one that was on its way to a connection
///   which turns out to have ended before anything more was written to it, as after a server has died. Of those that had left the caller's hands it takes
///   a body that was known at once, and is at most 64 KiB long. One that may have been done does not, unless [`ChannelBuilder::retry`] allows it.
/// - With nobody to call it waits, by default 2 s ([`ChannelBuilder::wait_for_ready`], or [`WaitForReady`] on a request), and then fails with
///   `UNAVAILABLE` and the reason.
/// - An instance that is removed gets no more calls, and those in flight on it finish.
/// - The deadline of a call (tonic: `Request::set_timeout`) holds until the end of its answer, and gives `DEADLINE_EXCEEDED`.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    view: View,
    board: Arc<Board>,
    picker: Picker,
    wait_for_ready: Duration,
    retry: Option<Retry>,
    pool: AbortHandle,
    /// Where it is metered: its view is for as long as it is there.
    #[cfg(feature = "metrics")]
    _observed: Option<registry_core::layer::meter::Observed>,
}

/// How long one call waits for an endpoint, instead of what [`ChannelBuilder::wait_for_ready`] says: put it into the extensions of the request
/// (`request.extensions_mut().insert(…)`). Zero: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub Duration);

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
        ChannelBuilder::new(view)
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
        let (wanted, mut patience) = (Wanted::default(), call::Patience::of(&self.inner));
        call::candidate(&self.inner, wanted, &mut patience, &mut Instant::now()).await.map(drop)
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
