//! What a proxy has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of a [`Proxy`](super::Proxy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted from clients.
    pub accepted: u64,
    /// Of these, those that were carried to the server.
    pub connected: u64,
    /// Of these, those for which the server could not be reached; the client got a reset.
    pub unreachable: u64,
    /// Connections ended by [`cut`](super::Proxy::cut).
    pub cut: u64,
    /// Connections ended with a reset: by [`reset`](super::Proxy::reset), since they had lost bytes, or since one end had reset it.
    pub reset: u64,
    /// Connections open now.
    pub open: usize,
    /// From client to server.
    pub to_server: WayCounters,
    /// From server to client.
    pub to_client: WayCounters,
}

/// Bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WayCounters {
    /// Delivered.
    pub delivered: u64,
    /// Lost in a black hole.
    pub swallowed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) reset: AtomicU64,
    pub(super) to_server: WayTally,
    pub(super) to_client: WayTally,
}

#[derive(Debug, Default)]
pub(super) struct WayTally {
    pub(super) delivered: AtomicU64,
    pub(super) swallowed: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::SeqCst);
}

impl Tally {
    pub(super) fn read(&self, open: usize) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let way =
            |way: &WayTally| WayCounters { delivered: read(&way.delivered), swallowed: read(&way.swallowed) };
        Counters {
            accepted: read(&self.accepted),
            connected: read(&self.connected),
            unreachable: read(&self.unreachable),
            cut: read(&self.cut),
            reset: read(&self.reset),
            open,
            to_server: way(&self.to_server),
            to_client: way(&self.to_client),
        }
    }
}
