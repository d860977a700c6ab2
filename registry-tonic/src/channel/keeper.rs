//! The task that keeps a connection to a peer, and lets nobody call it while that is of no use.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use registry_core::backoff::Backoff;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connect::Connect;
use super::connection::{Connection, Held};
use super::eject::{Ejected, Ejection, Quota};
use super::health::{Health, NOT_YET};
use super::peer::{Link, Peer, PeerKey, Up};
use crate::text::chain;

/// A connection that held this long was a good one; what ended it says nothing about the next attempt.
const GOOD: Duration = Duration::from_secs(1);

/// An endpoint that was called this long without being ejected is as good as one that never was.
const FORGIVEN: Duration = Duration::from_secs(60);

/// After so many false alarms in a row the patience with a silent endpoint does not double any more; one is forgotten each time that none came for
/// [`FORGIVEN`], or some slow calls would make it blind to a black hole for ever.
const MOST_DOUBLINGS: u32 = 7;

/// So many peers are connected to at a time. Thousands at once would all exceed their time on a busy machine, and begin again, without end.
const TURNS: usize = 64;

/// After so long the next one has its turn as well: who does not answer keeps nobody waiting for longer.
const TURN: Duration = Duration::from_secs(1);

/// How peers are kept.
#[derive(Clone)]
pub(crate) struct Keeping {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) ejection: Option<Ejection>,
    pub(crate) silent_after: Duration,
    /// The name by which servers are asked about their health, if they are.
    pub(crate) health: Option<Arc<str>>,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping")
            .field("timeout", &self.timeout)
            .field("backoff", &self.backoff)
            .field("ejection", &self.ejection)
            .field("silent_after", &self.silent_after)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// The pool's hold on a peer: dropping it takes the peer out. Its calls in flight go on, over a connection that closes after them.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    pub(crate) peer: Arc<Peer>,
    again: Arc<Notify>,
    task: AbortHandle,
}

/// What all peers of a pool share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) keeping: Keeping,
    /// Told of every change of a link, but for another reason why there is none.
    pub(crate) changed: Arc<Notify>,
    pub(crate) quota: Arc<Quota>,
    /// Whose turn it is to connect.
    turns: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(keeping: Keeping) -> Self {
        let turns = Arc::new(Semaphore::new(TURNS));
        Self { keeping, changed: Arc::default(), quota: Arc::default(), turns }
    }
}

impl PeerHandle {
    /// Starts to connect. Answers are expected to take as long as `expected`.
    pub(crate) fn start(key: PeerKey, expected: Duration, shared: Shared, seed: u64) -> Self {
        let tell_after = shared.keeping.ejection.map(|ejection| ejection.after.max(1));
        let peer = Arc::new(Peer::new(key, expected, tell_after));
        let again = Arc::new(Notify::new());
        let keeper = Keeper {
            peer: Arc::clone(&peer),
            shared,
            again: Arc::clone(&again),
            rng: fastrand::Rng::with_seed(seed),
            since: Instant::now(),
            left: None,
            false_alarms: 0,
            forgets: Instant::now(),
            ejected: None,
        };
        let task = tokio::spawn(keeper.run()).abort_handle();
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
        self.peer.show(Link::Removed);
    }
}

/// Why a connection is not used any more.
enum Ended {
    /// It could not be made, or broke.
    Broken(String),
    /// Calls were answered on it, and the other side has ended it or is gone.
    HungUp(String),
    /// It is there, and of no use.
    Ejected(String, Ejected),
}

struct Keeper {
    peer: Arc<Peer>,
    shared: Shared,
    again: Arc<Notify>,
    rng: fastrand::Rng,
    /// Since when it can be called, and when that last ended for no reason of its own.
    since: Instant,
    left: Option<Instant>,
    /// How often it was silent and yet there, as far as that is remembered, and when some of it is forgotten.
    false_alarms: u32,
    forgets: Instant,
    /// That it counts as ejected, for as long as it is shown as such.
    ejected: Option<Ejected>,
}

impl Keeper {
    async fn run(mut self) {
        let (mut attempt, mut ejections) = (0_u32, 0_u32);
        loop {
            let began = Instant::now();
            let ended = self.connect_and_hold().await;
            let held = began.elapsed();
            self.left = (!matches!(ended, Ended::Ejected(..))).then(Instant::now);
            // Servers and what is in front of them close connections after so many calls, or so long: those come back as soon as they are gone.
            if held >= GOOD.saturating_add(self.shared.keeping.timeout) || matches!(ended, Ended::HungUp(_)) {
                attempt = 0;
            }
            if held >= FORGIVEN {
                ejections = 0;
            }
            let delay = match ended {
                Ended::Broken(error) | Ended::HungUp(error) => {
                    let (id, endpoint) = (self.peer.id(), self.peer.endpoint());
                    tracing::debug!(%id, %endpoint, error, attempt, "not connected");
                    self.show(Link::Connecting { error: Some(error.into()) });
                    attempt = attempt.saturating_add(1);
                    self.shared.keeping.backoff.delay(attempt - 1, self.rng.f64())
                }
                Ended::Ejected(reason, ejected) => {
                    // It has registered anew since, and failed all the same.
                    self.forget_to_try_now();
                    self.eject(reason, ejected, &mut ejections)
                }
            };
            tokio::select! {
                () = sleep(delay) => {}
                () = self.again.notified() => {
                    attempt = 0;
                    self.left = None;
                }
            }
        }
    }

    /// Takes the peer out, and says for how long.
    fn eject(&mut self, reason: String, ejected: Ejected, ejections: &mut u32) -> Duration {
        let ejection = self.shared.keeping.ejection.unwrap_or_default();
        let delay = ejection.backoff.delay(*ejections, self.rng.f64());
        let (id, endpoint) = (self.peer.id(), self.peer.endpoint());
        tracing::warn!(%id, %endpoint, reason, ?delay, "ejected");
        *ejections = ejections.saturating_add(1);
        self.peer.ejected();
        self.show(Link::Ejected { reason: reason.into() });
        self.ejected = Some(ejected);
        delay
    }

    async fn open(&self) -> Result<(Connection, Held), String> {
        let Keeping { connect, timeout: limit, .. } = &self.shared.keeping;
        // A connector of the caller's that panics must not take this task with it.
        let opening = AssertUnwindSafe(Connection::open(self.peer.endpoint(), &**connect)).catch_unwind();
        match timeout(*limit, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err("the connector panicked".into()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    /// The same when it is our turn.
    async fn open_in_turn(&self) -> Result<(Connection, Held), String> {
        let turn = self.shared.turns.acquire().await;
        let mut opening = pin!(self.open());
        match timeout(TURN, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                drop(turn);
                opening.await
            }
        }
    }

    /// Connects and stays connected, until there is a reason not to be.
    async fn connect_and_hold(&mut self) -> Ended {
        let (connection, mut held) = match self.open_in_turn().await {
            Ok(opened) => opened,
            Err(error) => return Ended::Broken(error),
        };
        // That was meant for the attempt which has just succeeded.
        self.forget_to_try_now();
        let mut health = self.health_of(&connection);
        // Who was away only for a moment is as warm as before.
        if self.left.is_none_or(|left| left.elapsed() >= GOOD) {
            self.since = Instant::now();
        }
        let unwell = health.as_ref().map(|_| NOT_YET.into());
        let mut up = Up { connection, since: self.since, unwell, silent: false };
        self.show(Link::Up(up.clone()));
        let backoff = self.shared.keeping.backoff;
        loop {
            let (silence, patience) = (Arc::clone(up.connection.silence()), self.patience());
            tokio::select! {
                ended = &mut held => {
                    let error = match ended {
                        Ok(Err(error)) => chain(&error),
                        _ => "the connection was closed by the other side".into(),
                    };
                    return if silence.has_answered() { Ended::HungUp(error) } else { Ended::Broken(error) };
                }
                reason = self.peer.fails() => if let Some(ejected) = self.shared.quota.take() {
                    return Ended::Ejected(reason, ejected);
                },
                word = word(&mut health, &backoff, &mut self.rng) => {
                    let unwell = word.err();
                    if up.unwell == unwell {
                        continue;
                    }
                    if unwell.is_none() {
                        up.since = Instant::now();
                    }
                    up.unwell = unwell;
                    self.show(Link::Up(up.clone()));
                }
                () = sleep_until(self.forgets), if self.false_alarms > 0 => {
                    self.false_alarms -= 1;
                    self.forgets = Instant::now() + FORGIVEN;
                }
                () = silence.lasts(patience) => {
                    self.show(Link::Up(Up { silent: true, ..up.clone() }));
                    // Not in turn, since calls wait for what comes of it.
                    match self.open().await {
                        // It is there, and was slow; or what lay between is gone, and then the new connection is another way. Calls on the old
                        // one go on.
                        Ok((connection, its)) => {
                            self.false_alarms = (self.false_alarms + 1).min(MOST_DOUBLINGS);
                            self.forgets = Instant::now() + FORGIVEN;
                            health = self.health_of(&connection);
                            (up.connection, held) = (connection, its);
                            self.show(Link::Up(up.clone()));
                        }
                        Err(error) => {
                            self.false_alarms = 0;
                            self.peer.ejected();
                            let reason = format!("nothing was heard for {patience:?} although answers were due, and connecting anew: {error}");
                            let (id, endpoint) = (self.peer.id(), self.peer.endpoint());
                            tracing::warn!(%id, %endpoint, reason, "ejected");
                            return Ended::Broken(reason);
                        }
                    }
                }
            }
        }
    }

    /// How long it may be silent. Longer for who was silent and yet there: its answers may take long.
    fn patience(&self) -> Duration {
        self.shared.keeping.silent_after.saturating_mul(1 << self.false_alarms)
    }

    fn health_of(&self, connection: &Connection) -> Option<Health> {
        let service = self.shared.keeping.health.as_ref()?;
        Some(Health::new(connection.clone(), Arc::clone(service)))
    }

    fn forget_to_try_now(&self) {
        let _ = self.again.notified().now_or_never();
    }

    fn show(&mut self, link: Link) {
        let is_ejected = matches!(link, Link::Ejected { .. });
        if self.peer.show(link) {
            self.shared.changed.notify_one();
        }
        if !is_ejected {
            self.ejected = None;
        }
    }
}

/// The next word about its health, where it is asked.
async fn word(
    health: &mut Option<Health>,
    backoff: &Backoff,
    rng: &mut fastrand::Rng,
) -> Result<(), Arc<str>> {
    match health {
        Some(health) => health.next(backoff, rng).await,
        None => std::future::pending().await,
    }
}
