//! One endpoint of one instance: a task that keeps a connection to it, and what is known about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::{Endpoint, InstanceId};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::load::Load;
use crate::text::chain;

/// A connection that held this long was a good one; what ended it says nothing about the next attempt.
const GOOD: Duration = Duration::from_secs(1);

/// What identifies a peer. Not the incarnation: an instance that registered anew at the same address keeps its connection.
pub(crate) type PeerKey = (InstanceId, Endpoint);

#[derive(Debug)]
pub(crate) struct Peer {
    key: PeerKey,
    pub(crate) load: Load,
    link: Mutex<Link>,
}

/// The connection to a peer.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Being connected; `error` is what the last attempt, or the last connection, ended with.
    Connecting { error: Option<Arc<str>> },
    /// Connected.
    Up(Connection),
    /// The peer has left the pool.
    Removed,
}

impl Peer {
    pub(crate) fn id(&self) -> &InstanceId {
        &self.key.0
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.key.1
    }

    pub(crate) fn link(&self) -> Link {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        // A link is replaced whole.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool's hold on a peer: dropping it takes the peer out. Its calls in flight go on, over a connection that closes after them.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    pub(crate) peer: Arc<Peer>,
    again: Arc<Notify>,
    task: AbortHandle,
}

/// How peers connect.
#[derive(Clone, Debug)]
pub(crate) struct Connecting {
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
}

impl PeerHandle {
    /// Starts to connect. `changed` is told of every change of the link.
    pub(crate) fn start(key: PeerKey, connecting: Connecting, seed: u64, changed: Arc<Notify>) -> Self {
        let peer = Arc::new(Peer {
            key,
            load: Load::new(Instant::now()),
            link: Mutex::new(Link::Connecting { error: None }),
        });
        let again = Arc::new(Notify::new());
        let keeper = Keeper { peer: Arc::clone(&peer), connecting, changed, again: Arc::clone(&again) };
        let task = tokio::spawn(keeper.run(fastrand::Rng::with_seed(seed))).abort_handle();
        Self { peer, again, task }
    }

    /// Cuts a back-off short: there is reason to believe that the next attempt is another one.
    pub(crate) fn try_now(&self) {
        self.again.notify_one();
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        self.task.abort();
        *self.peer.lock() = Link::Removed;
    }
}

/// The task behind a peer.
struct Keeper {
    peer: Arc<Peer>,
    connecting: Connecting,
    changed: Arc<Notify>,
    again: Arc<Notify>,
}

impl Keeper {
    async fn run(self, mut rng: fastrand::Rng) {
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            let error = self.connect_and_hold().await;
            let (id, endpoint) = &self.peer.key;
            tracing::debug!(%id, %endpoint, error, attempt, "not connected");
            self.show(Link::Connecting { error: Some(error.into()) });
            if began.elapsed() >= GOOD.saturating_add(self.connecting.timeout) {
                attempt = 0;
            }
            let delay = self.connecting.backoff.delay(attempt, rng.f64());
            attempt = attempt.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.again.notified() => attempt = 0,
            }
        }
    }

    /// Connects and stays connected, until an error.
    async fn connect_and_hold(&self) -> String {
        let (connection, ended) =
            match timeout(self.connecting.timeout, Connection::open(self.peer.endpoint())).await {
                Ok(Ok(opened)) => opened,
                Ok(Err(error)) => return error,
                Err(_) => return format!("no answer within {:?}", self.connecting.timeout),
            };
        self.show(Link::Up(connection));
        match ended.await {
            Ok(Err(error)) => chain(&error),
            _ => "the connection was closed by the other side".into(),
        }
    }

    fn show(&self, link: Link) {
        let mut present = self.peer.lock();
        if !matches!(*present, Link::Removed) {
            *present = link;
        }
        drop(present);
        self.changed.notify_one();
    }
}

/// One call on a peer, from before it is sent until its answer has ended.
#[derive(Debug)]
pub(crate) struct InFlight {
    peer: Arc<Peer>,
    began: Instant,
    took: Option<Duration>,
    counts: bool,
}

impl InFlight {
    pub(crate) fn new(peer: Arc<Peer>, now: Instant) -> Self {
        peer.load.started();
        Self { peer, began: now, took: None, counts: true }
    }

    /// The peer, for messages.
    pub(crate) fn who(&self) -> String {
        let (id, authority) = (self.peer.id().as_str(), self.peer.endpoint().authority());
        if id == authority { authority } else { format!("{id} at {authority}") }
    }

    /// The answer has begun.
    pub(crate) fn answered(mut self, now: Instant) -> Self {
        self.took = Some(now.saturating_duration_since(self.began));
        self
    }

    /// The call never was one.
    pub(crate) fn never_sent(mut self) {
        self.counts = false;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = Instant::now();
        match self.took {
            Some(took) => self.peer.load.finished(Some(took), now),
            None if self.counts => {
                self.peer.load.given_up(now.saturating_duration_since(self.began), now);
            }
            None => self.peer.load.finished(None, now),
        }
    }
}
