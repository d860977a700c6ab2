//! The trait that every backend implements, and its contract.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_core::Stream;

use crate::cursor::{Cursor, Revision};
use crate::error::Result;
use crate::event::{Batch, WatchEvent};
use crate::guarantees::Guarantees;
use crate::instance::Instance;
use crate::lease::{Lease, RegisterOptions, Registration};
use crate::name::ServiceName;
use crate::snapshot::Snapshot;

/// A service registry: where instances are registered, kept alive, found and watched.
///
/// Only the primitives: what can be built on them is in [`RegistryExt`](crate::RegistryExt), [`Registrar`](crate::Registrar)
/// and [`Directory`](crate::Directory), which most programs use instead.
///
/// # Contract
///
/// Every backend keeps these promises; the crate `registry-testing` has a test for each.
///
/// - **Dropping a future is always safe.** What it asked for may or may not have happened; each method says what
///   that means.
/// - **Errors are classified** ([`Error`](crate::Error)). After `Unavailable` and `Timeout` a change may have happened all the
///   same; repeating the call is safe.
/// - **Malformed entries** that others wrote into the store are skipped, logged and counted ([`Snapshot::skipped`]); they
///   neither fail a lookup nor end a watch.
/// - **Leases are not early**: an entry is listed until the invocation of the last acknowledged heartbeat + TTL. **Late only
///   within bounds**: it is gone by the last processed heartbeat + TTL + [`expiry_bound`](Guarantees::expiry_bound); after a
///   restart, fail-over, clock step or silence of all clients at most as
///   [`after_disruption`](Guarantees::after_disruption) says.
/// - **Leases are fenced**: nothing that is done by an old incarnation (heartbeat, update, deregistering, expiry) touches a
///   newer one.
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Lists `instance` until its lease ends.
    ///
    /// Atomic, visible to every later lookup, and to every watch at exactly the revision returned. Idempotent per
    /// [`token`](RegisterOptions::token): while an entry with this token is there, the same lease is returned with a full TTL, and
    /// the instance replaces the one listed where it differs. What happens when another owner holds the id is
    /// decided by [`on_conflict`](RegisterOptions::on_conflict).
    ///
    /// # Errors
    /// [`AlreadyRegistered`](crate::ErrorKind::AlreadyRegistered) when the id is held by another and may not be taken;
    /// [`StoreFull`](crate::ErrorKind::StoreFull); those of every operation.
    ///
    /// # Dropping the future
    /// The instance may be listed for one TTL. Registering again with the same token gives its lease.
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration>;

    /// One heartbeat: the lease gets a full TTL, counted from when the heartbeat is processed, which is not before this call.
    ///
    /// Never re-creates anything.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the lease expired, was revoked or taken over, or its entry was deleted or
    /// overwritten by someone else: at the latest one heartbeat after it happened.
    ///
    /// # Dropping the future
    /// The lease may have been renewed.
    async fn keepalive(&self, lease: &Lease) -> Result<()>;

    /// Replaces the instance in place: one [`Put`](crate::Change::Put), never a deletion and a put. The lease's deadline stays.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) as for [`keepalive`](Self::keepalive); [`InvalidInput`](crate::ErrorKind::InvalidInput)
    /// when service or id are not those of the lease.
    ///
    /// # Dropping the future
    /// The change may have happened. Updating again with the same instance is safe.
    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision>;

    /// Removes what this lease owns, and only that. Harmless when it is already gone.
    ///
    /// # Errors
    /// Those of every operation; never [`LeaseLost`](crate::ErrorKind::LeaseLost).
    ///
    /// # Dropping the future
    /// The entry may be gone; otherwise it goes when its lease ends.
    async fn deregister(&self, lease: &Lease) -> Result<()>;

    /// All instances of `service`; none that is past its bound. A service never seen is an empty snapshot, not an
    /// error.
    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot>;

    /// The names starting with `prefix` that have instances, in ascending order. The empty prefix is all.
    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>>;

    /// Watches the instances of `service`, from now (`None`) or from where an earlier watch or lookup left off.
    ///
    /// The stream does not borrow the registry, waits for no server, and never ends.
    ///
    /// | # | promise |
    /// | --- | --- |
    /// | W1 first | Without a cursor the first data item is `Reset`; `Stale` may come before it. |
    /// | W2 ordered | Within an epoch revisions never fall, also across a `Reset`; only a `Reset` starts a new epoch. |
    /// | W3 unique | No change is delivered twice between two `Reset`s. |
    /// | W4 gap-free | Between two `Reset`s every change is delivered. |
    /// | W5 atomic | Changes of one revision come in one item. |
    /// | W6 resumable | From a cursor it goes on with the first later change, or with a `Reset`. |
    /// | W7 honest | What cannot be resumed becomes `Reset` with its cause. |
    /// | W8 convergent | After faults end, every watch equals `lookup` within [`convergence`](Guarantees::convergence). |
    /// | W9 trouble is not data | Losing the registry yields `Stale`, being proven current again `Live`; in between the set is never emptied. `Progress` at least every 10 s when idle. |
    /// | W10 bounded | A consumer that does not read costs bounded memory; overflow collapses into one `Reset`. |
    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch;

    /// What this backend, as deployed, promises.
    fn guarantees(&self) -> Guarantees;
}

#[async_trait]
impl<R: Registry + ?Sized> Registry for Arc<R> {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        (**self).register(instance, options).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        (**self).keepalive(lease).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        (**self).update(lease, instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        (**self).deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        (**self).lookup(service).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        (**self).services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        (**self).watch(service, from)
    }

    fn guarantees(&self) -> Guarantees {
        (**self).guarantees()
    }
}

/// A stream of [`WatchEvent`]s. Dropping it ends the watch.
#[must_use = "a watch does nothing unless it is polled"]
pub struct Watch {
    events: Pin<Box<dyn Stream<Item = WatchEvent> + Send>>,
}

impl Watch {
    /// For implementations of [`Registry`] that do not use [`resume::watch`](crate::resume::watch): a watch that yields
    /// `events`, which must keep W1 to W10.
    pub fn new(events: impl Stream<Item = WatchEvent> + Send + 'static) -> Self {
        Self { events: Box::pin(events) }
    }

    /// The next item. `None` does not happen with a registry that keeps the contract. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| self.events.as_mut().poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// One connection's worth of a watch: what a backend writes. [`resume::watch`](crate::resume::watch) makes the
/// never-ending, honest stream of [`Registry::watch`] out of it.
#[async_trait]
pub trait WatchSource: fmt::Debug + Send + Sync + 'static {
    /// Opens a feed.
    ///
    /// - Without a cursor the feed's first item is [`FeedItem::Snapshot`].
    /// - From a cursor it goes on with the first later change. The backend must be certain that the history up to the
    ///   cursor is the one the cursor came from.
    /// - It yields [`FeedItem::Progress`] once everything up to the store's present state was delivered, and then at least every
    ///   [`PROGRESS_INTERVAL`](crate::resume::PROGRESS_INTERVAL) while nothing changes, each time only after proof that
    ///   the store is there and nothing was missed.
    /// - It ends with an error; [`CursorLost`](crate::ErrorKind::CursorLost) when changes were missed. It never repairs itself, never
    ///   skips, and buffers no more than a bounded number of changes.
    ///
    /// # Errors
    /// [`CursorLost`](crate::ErrorKind::CursorLost) with its cause when it cannot go on from there; those of every operation. After
    /// [`Wiped`](crate::ResetCause::Wiped) and [`Diverged`](crate::ResetCause::Diverged) the next snapshot must be of another
    /// [`Epoch`](crate::Epoch): within one, an older list is never installed.
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed>;
}

/// The items of one connection's worth of a watch, in order, until its first error.
pub type Feed = Pin<Box<dyn Stream<Item = Result<FeedItem>> + Send>>;

/// An item of a [`Feed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedItem {
    /// All instances.
    Snapshot(Snapshot),
    /// All changes of one revision.
    Changes(Batch),
    /// Everything up to this cursor was delivered, and there was nothing later when this was made.
    Progress(Cursor),
}
