//! What a subscriber holds: the present instances, how fresh they are, and the changes to come.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::Guard;
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Inner;
use super::guard::{Held, HeldSet};
use super::stats::{Stats, ViewStats};
use crate::cursor::Cursor;
use crate::diff::{Difference, diff};
use crate::error::Error;
use crate::event::ResetCause;
use crate::name::{InstanceId, ServiceName};
use crate::published::Reader;
use crate::snapshot::{Entry, Snapshot};

/// How current a view is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Freshness {
    /// Nothing was heard from the registry yet.
    Pending {
        /// When the watch began.
        since: Instant,
    },
    /// Current, as far as is known.
    Live {
        /// When that was last proven.
        proven: Instant,
    },
    /// The registry cannot be reached. The last good instances are still served; before the first ones, none. Only what a guard holds is gone
    /// once its time is over, as it is when the registry can be reached.
    Stale {
        /// When the view was last proven current; before that, when the watch began.
        since: Instant,
        /// What is wrong.
        error: Error,
    },
}

/// A snapshot, and its entries as a flat slice once someone asks for it.
#[derive(Debug)]
pub(super) struct Listing {
    snapshot: Snapshot,
    flat: OnceLock<Box<[Arc<Entry>]>>,
}

impl Listing {
    pub(super) fn new(snapshot: Snapshot) -> Arc<Self> {
        Arc::new(Self { snapshot, flat: OnceLock::new() })
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// That what is listed was read from disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromDisk {
    /// How long ago it had been proven current when it was read.
    pub(super) age: Duration,
    pub(super) read: Instant,
}

/// A view at one moment.
#[derive(Clone, Debug)]
pub struct ViewState {
    pub(super) service: ServiceName,
    pub(super) listing: Option<Arc<Listing>>,
    pub(super) cursor: Option<Cursor>,
    pub(super) freshness: Freshness,
    pub(super) resets: u64,
    pub(super) last_reset: Option<ResetCause>,
    pub(super) held: HeldSet,
    pub(super) from_disk: Option<FromDisk>,
}

impl ViewState {
    pub(super) fn pending(service: ServiceName) -> Self {
        Self {
            service,
            listing: None,
            cursor: None,
            freshness: Freshness::Pending { since: Instant::now() },
            resets: 0,
            last_reset: None,
            held: HeldSet::new(),
            from_disk: None,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The instances, held ones included; `None` until the registry has answered for the first time, or a saved view was read, which is not the
    /// same as none.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.listing.as_ref().map(|listing| &listing.snapshot)
    }

    /// The entries, ordered by id, as a slice: what the [`pick`](crate::pick) policies take. Made when first asked for after
    /// a change, in time that grows with their number; wait-free and without allocation after that.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        match &self.listing {
            Some(listing) => listing.flat.get_or_init(|| listing.snapshot.iter().cloned().collect()),
            None => &[],
        }
    }

    /// How current the instances are.
    #[must_use]
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// For how long the view has not been proven current: zero while it is live.
    #[must_use]
    pub fn stale_for(&self, now: Instant) -> Duration {
        match &self.freshness {
            Freshness::Stale { since, .. } => now.saturating_duration_since(*since),
            Freshness::Pending { .. } | Freshness::Live { .. } => Duration::ZERO,
        }
    }

    /// Up to where the registry's changes are included.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// The instances of this view that the guard holds: the registry does not list them any more. Ordered by id.
    pub fn held(&self) -> impl Iterator<Item = (&InstanceId, &Held)> {
        self.held.iter()
    }

    /// How many they are.
    #[must_use]
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Since when, until when and why `id` is held; `None` when it is not.
    #[must_use]
    pub fn held_of(&self, id: &InstanceId) -> Option<&Held> {
        self.held.get(id)
    }

    /// How long before `now` what is listed was proven current, when it was read from disk; `None` once the registry has answered. By the wall
    /// clock: a step of it while the process was down makes it wrong by as much.
    #[must_use]
    pub fn disk_age(&self, now: Instant) -> Option<Duration> {
        self.from_disk.map(|disk| disk.age + now.saturating_duration_since(disk.read))
    }

    /// How often the view was loaded anew, the first time included, and why the last time.
    #[must_use]
    pub fn resets(&self) -> (u64, Option<ResetCause>) {
        (self.resets, self.last_reset)
    }
}

/// A request to give up what is held; answered with how many that were.
pub(super) type Release = oneshot::Sender<usize>;

/// Ends the task with the last view.
pub(super) struct Shared {
    service: ServiceName,
    reader: Reader<ViewState>,
    task: AbortHandle,
    origin: Origin,
}

/// Where a view has its instances from.
pub(super) enum Origin {
    /// From a watch of its own.
    Watch { directory: Weak<Inner>, releases: mpsc::UnboundedSender<Release>, stats: Arc<Stats> },
    /// From another view, which it keeps up to date by this.
    View(View),
}

impl Shared {
    /// Whether the view is still kept up to date; not when the runtime that it was made in is gone.
    pub(super) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    pub(super) fn new(
        service: ServiceName,
        (reader, task): (Reader<ViewState>, AbortHandle),
        origin: Origin,
    ) -> Self {
        Self { service, reader, task, origin }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
        if let Origin::Watch { directory, .. } = &self.origin
            && let Some(directory) = directory.upgrade()
        {
            directory.forget(&self.service);
        }
    }
}

/// A subscription to the instances of one service. Cloning it costs two counters; a clone has its own idea of what it has
/// seen.
///
/// Reading ([`load`](Self::load)) takes no lock and allocates nothing, but for a few bytes the first time in each thread.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    reader: Reader<ViewState>,
}

impl View {
    pub(super) fn reader(&self) -> Reader<ViewState> {
        self.reader.fresh()
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let reader = shared.reader.fresh();
        Self { shared, reader }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.shared.service
    }

    /// The present state. Hold the result only briefly: it keeps that version alive.
    #[must_use]
    pub fn load(&self) -> ViewRef {
        ViewRef { state: self.reader.load() }
    }

    /// The present state, for keeping.
    #[must_use]
    pub fn state(&self) -> Arc<ViewState> {
        Arc::clone(&self.reader.load())
    }

    /// Waits until the registry has answered for the first time, or a saved view was read. While it cannot be reached this waits; put a timeout
    /// around it where that is not wanted. `false` when it never will, because the runtime of the view has been shut down.
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> bool {
        self.reader.fresh().wait_for(|state| state.listing.is_some()).await.is_ok()
    }

    /// Waits until the instances or their freshness differ from what this view saw before, the first time at once. Versions that follow
    /// each other faster than this is called are skipped. `false` when the runtime of the view has been shut down.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> bool {
        self.reader.changed().await
    }

    /// Gives up everything that the guard holds of this service, for all of its views, and gives how many instances that were. Nothing else is
    /// held because of what vanished before. What the registry lists again comes back at once, as ever. `0` where nothing is held, and when
    /// the runtime of the view has been shut down.
    ///
    /// When it returns, the views that have all instances show it; those with [options](crate::ViewOptions) of their own follow. Dropping the future does
    /// not take it back.
    pub async fn release(&self) -> usize {
        match &self.shared.origin {
            Origin::Watch { releases, .. } => {
                let (answer, released) = oneshot::channel();
                if releases.send(answer).is_err() {
                    return 0;
                }
                released.await.unwrap_or_default()
            }
            Origin::View(view) => Box::pin(view.release()).await,
        }
    }

    /// How often what happened since the service was first asked for.
    #[must_use]
    pub fn stats(&self) -> ViewStats {
        match &self.shared.origin {
            Origin::Watch { stats, .. } => stats.read(),
            Origin::View(view) => view.stats(),
        }
    }

    /// What [`stats`](Self::stats) reads: one for each time that the service is first asked for.
    #[cfg(feature = "metrics")]
    pub(crate) fn counts(&self) -> &Arc<Stats> {
        match &self.shared.origin {
            Origin::Watch { stats, .. } => stats,
            Origin::View(view) => view.counts(),
        }
    }

    /// The differences from here on: first everything there is, then what changed. A reader that is slow gets fewer and
    /// larger items, never more memory.
    pub fn differences(&self) -> Differences {
        let view = Self { shared: Arc::clone(&self.shared), reader: self.reader.fresh() };
        let next = async |(mut view, seen): (Self, Option<Snapshot>)| {
            while view.changed().await {
                let Some(snapshot) = view.load().snapshot().cloned() else { continue };
                let differences = diff(seen.as_ref(), &snapshot);
                // The first item comes also when the service is empty: that is news.
                if !differences.is_empty() || seen.is_none() {
                    return Some((differences, (view, Some(snapshot))));
                }
            }
            None
        };
        Differences { items: Box::pin(futures_util::stream::unfold((view, None), next)) }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.reader.load()).finish()
    }
}

/// The state of a view at one moment, borrowed from it.
pub struct ViewRef {
    state: Guard<Arc<ViewState>>,
}

impl Deref for ViewRef {
    type Target = ViewState;

    fn deref(&self) -> &ViewState {
        &self.state
    }
}

impl fmt::Debug for ViewRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A stream of the differences of a [`View`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Differences {
    items: std::pin::Pin<Box<dyn Stream<Item = Vec<Difference>> + Send>>,
}

impl Differences {
    /// The next differences; `None` when the runtime of the view has been shut down. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Difference>> {
        std::future::poll_fn(|cx| self.items.as_mut().poll_next(cx)).await
    }
}

impl Stream for Differences {
    type Item = Vec<Difference>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Vec<Difference>>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Differences").finish_non_exhaustive()
    }
}
