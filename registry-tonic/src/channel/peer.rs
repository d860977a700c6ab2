//! One endpoint of one instance: what is known about it, and its calls.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::pick::hash;
use registry_core::{Endpoint, InstanceId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Connection;
use super::eject::Streak;
use super::load::Load;
use super::outcome::Outcome;

/// What identifies a peer. Not the incarnation: an instance that registered anew at the same address keeps its connection.
pub(crate) type PeerKey = (InstanceId, Endpoint);

#[derive(Debug)]
pub(crate) struct Peer {
    key: PeerKey,
    /// Of the instance id, for picking by a key.
    pub(crate) identity: u64,
    pub(crate) load: Load,
    pub(crate) counts: Counts,
    pub(crate) streak: Streak,
    /// Told when calls fail in a row, with the last outcome.
    failing: Notify,
    last_failure: Mutex<Option<(u32, Outcome)>>,
    /// How often it was taken out: what ends of an earlier time says nothing about now.
    generation: AtomicU32,
    /// So many failures in a row are told; none: they never are.
    tell_after: Option<u32>,
    link: Mutex<Link>,
}

/// How often things happened since the peer was there.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) ejections: AtomicU64,
}

/// The connection to a peer.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Being connected; `error` is what the last attempt, or the last connection, ended with.
    Connecting { error: Option<Arc<str>> },
    /// Connected.
    Up(Up),
    /// Not to be called for a while, and why.
    Ejected { reason: Arc<str> },
    /// The peer has left the pool.
    Removed,
}

/// A connection, and what speaks against using it.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) connection: Connection,
    /// Since when the peer can be called, for slow start.
    pub(crate) since: Instant,
    /// What it says of its health, where that is not that it serves.
    pub(crate) unwell: Option<Arc<str>>,
    /// Whether nothing is heard of it although answers are due.
    pub(crate) silent: bool,
}

impl Peer {
    pub(crate) fn new(key: PeerKey, expected: Duration, tell_after: Option<u32>) -> Self {
        Self {
            identity: hash(key.0.as_str().as_bytes()),
            key,
            load: Load::new(expected, Instant::now()),
            counts: Counts::default(),
            streak: Streak::default(),
            failing: Notify::new(),
            last_failure: Mutex::new(None),
            generation: AtomicU32::new(0),
            tell_after,
            link: Mutex::new(Link::Connecting { error: None }),
        }
    }

    pub(crate) fn id(&self) -> &InstanceId {
        &self.key.0
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.key.1
    }

    pub(crate) fn link(&self) -> Link {
        lock(&self.link).clone()
    }

    /// Replaces the link, unless the peer was removed. Says whether that is more than another reason why there is none: of many that are out of
    /// reach there is one all the time.
    pub(crate) fn show(&self, link: Link) -> bool {
        let mut present = lock(&self.link);
        if matches!(*present, Link::Removed) {
            return false;
        }
        let is_down = |link: &Link| matches!(link, Link::Connecting { error: Some(_) });
        let more = !(is_down(&present) && is_down(&link));
        *present = link;
        more
    }

    /// Completes when so many calls failed in a row that it should be ejected, and says why.
    pub(crate) async fn fails(&self) -> String {
        loop {
            self.failing.notified().await;
            match lock(&self.last_failure).take() {
                Some((1, outcome)) => return format!("a call failed: {}", outcome.words()),
                Some((failures, outcome)) => {
                    return format!("{failures} calls failed in a row, the last since {}", outcome.words());
                }
                None => {}
            }
        }
    }

    /// It is taken out, and one more failure will do the next time.
    pub(crate) fn ejected(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.counts.ejections.fetch_add(1, Ordering::Relaxed);
        self.tell_after.into_iter().for_each(|after| self.streak.on_probation(after));
        *lock(&self.last_failure) = None;
    }

    /// A call that began in this generation has ended.
    fn ended(&self, outcome: Outcome, generation: u32) {
        if outcome.is_error() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        if generation != self.generation.load(Ordering::SeqCst) {
            return;
        }
        if !outcome.is_failure() {
            return self.streak.succeeded();
        }
        let failures = self.streak.failed();
        if self.tell_after.is_some_and(|after| failures >= after) {
            *lock(&self.last_failure) = Some((failures, outcome));
            self.failing.notify_one();
        }
    }
}

/// What is locked is always replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call on a peer, from before it is sent until its answer has ended.
#[derive(Debug)]
pub(crate) struct InFlight {
    peer: Arc<Peer>,
    generation: u32,
    began: Instant,
    took: Option<Duration>,
    outcome: Option<Outcome>,
    counts: bool,
}

impl InFlight {
    pub(crate) fn new(peer: Arc<Peer>, now: Instant) -> Self {
        peer.load.started();
        peer.counts.calls.fetch_add(1, Ordering::Relaxed);
        let generation = peer.generation.load(Ordering::SeqCst);
        Self { peer, generation, began: now, took: None, outcome: None, counts: true }
    }

    /// The peer, for messages.
    pub(crate) fn who(&self) -> String {
        let (id, authority) = (self.peer.id().as_str(), self.peer.endpoint().authority());
        if id == authority { authority } else { format!("{id} at {authority}") }
    }

    /// The answer has begun.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.took = Some(now.saturating_duration_since(self.began));
    }

    /// How it ended; what comes later does not count.
    pub(crate) fn ended(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.peer.ended(outcome, self.generation);
        }
    }

    /// Whether it is not known yet how it ended.
    pub(crate) fn has_no_outcome(&self) -> bool {
        self.outcome.is_none()
    }

    /// The call never was one.
    pub(crate) fn never_sent(mut self) {
        self.counts = false;
        self.peer.counts.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = Instant::now();
        // How fast one fails says nothing about how fast it works, nor does what was asked before it was taken out.
        let failed = self.outcome.is_some_and(Outcome::is_failure);
        let before = self.generation != self.peer.generation.load(Ordering::SeqCst);
        match self.took {
            _ if before => self.peer.load.finished(None, now),
            Some(took) => self.peer.load.finished((!failed).then_some(took), now),
            None if self.counts => {
                self.peer.load.given_up(now.saturating_duration_since(self.began), now);
            }
            None => self.peer.load.finished(None, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn peer(tell_after: Option<u32>) -> Peer {
        let key = ("a".parse().unwrap(), "h:1".parse().unwrap());
        Peer::new(key, Duration::from_millis(1), tell_after)
    }

    /// A call that began now, or before the peer was taken out, has failed.
    fn fails(peer: &Peer, before: bool) {
        let generation = peer.generation.load(Ordering::SeqCst) - u32::from(before);
        peer.ended(Outcome::Broken, generation);
    }

    #[tokio::test]
    async fn who_was_taken_out_has_one_failure_left_and_calls_of_before_do_not_count() {
        let peer = peer(Some(3));
        peer.ejected();
        fails(&peer, true);
        assert_eq!(peer.fails().now_or_never(), None);
        fails(&peer, false);
        assert!(peer.fails().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_taken_out_is_not_slow_for_what_it_never_answered() {
        let peer = Arc::new(peer(None));
        let usual = peer.load.latency(Instant::now());
        for (taken_out, slow) in [(true, false), (false, true)] {
            let mut asked = InFlight::new(Arc::clone(&peer), Instant::now());
            tokio::time::advance(Duration::from_secs(3)).await;
            if taken_out {
                peer.ejected();
            }
            asked.ended(Outcome::Broken);
            drop(asked);
            assert_eq!(peer.load.latency(Instant::now()) > usual, slow);
            assert_eq!(peer.load.in_flight(), 0);
        }
    }

    #[tokio::test]
    async fn where_nobody_is_ejected_failures_are_not_told_even_after_it_was_silent() {
        let peer = peer(None);
        peer.ejected();
        (0..10).for_each(|_| fails(&peer, false));
        assert_eq!(peer.fails().now_or_never(), None);
    }
}
