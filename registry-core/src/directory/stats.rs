//! How often what happened, as numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::ResetCause;

/// What happened to the view of a service since it was first asked for. All of its views share these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewStats {
    /// Instances that the guard began to hold.
    pub holds_begun: u64,
    /// Held instances that the registry lists again, or that their owners gave up.
    pub holds_ended: u64,
    /// Held instances that were given up after three TTLs.
    pub holds_expired: u64,
    /// Those of them that came back as the same incarnation, within ten times as long: their processes had been alive all the time. Either they register with a
    /// greater TTL than [the guard's](crate::GuardOptions::ttl), or they could not reach the registry for so long. What other hands wrote, without an
    /// incarnation, does not count.
    pub holds_premature: u64,
    /// Held instances that were [released](crate::View::release).
    pub holds_released: u64,
    /// How often it was saved on disk.
    pub disk_saved: u64,
    /// How often it could not be saved.
    pub disk_failed: u64,
    /// Saved views that were not used, or would not be: damaged, foreign, too old, or not readable.
    pub disk_rejected: u64,
    resets: [u64; ResetCause::ALL.len()],
}

impl ViewStats {
    /// How often it was loaded anew for this cause; the first time, it was loaded because of [`First`](ResetCause::First).
    #[must_use]
    pub fn resets(&self, cause: ResetCause) -> u64 {
        let all = ResetCause::ALL.iter().zip(self.resets);
        all.filter(|(of, _)| **of == cause).map(|(_, resets)| resets).sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    resets: [AtomicU64; ResetCause::ALL.len()],
    begun: AtomicU64,
    ended: AtomicU64,
    expired: AtomicU64,
    premature: AtomicU64,
    released: AtomicU64,
    saved: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
}

impl Stats {
    pub(super) fn read(&self) -> ViewStats {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        ViewStats {
            holds_begun: read(&self.begun),
            holds_ended: read(&self.ended),
            holds_expired: read(&self.expired),
            holds_premature: read(&self.premature),
            holds_released: read(&self.released),
            disk_saved: read(&self.saved),
            disk_failed: read(&self.failed),
            disk_rejected: read(&self.rejected),
            resets: self.resets.each_ref().map(read),
        }
    }

    pub(super) fn reset(&self, cause: ResetCause) {
        let all = ResetCause::ALL.iter().zip(&self.resets);
        all.filter(|(of, _)| **of == cause).for_each(|(_, resets)| add(resets, 1));
    }

    pub(super) fn holds_begun(&self, instances: usize) {
        add(&self.begun, instances);
    }

    pub(super) fn holds_ended(&self, instances: usize) {
        add(&self.ended, instances);
    }

    pub(super) fn holds_expired(&self, instances: usize) {
        add(&self.expired, instances);
    }

    pub(super) fn holds_premature(&self, instances: usize) {
        add(&self.premature, instances);
    }

    pub(super) fn holds_released(&self, instances: usize) {
        add(&self.released, instances);
    }

    pub(super) fn disk_saved(&self) {
        add(&self.saved, 1);
    }

    pub(super) fn disk_failed(&self) {
        add(&self.failed, 1);
    }

    pub(super) fn disk_rejected(&self) {
        add(&self.rejected, 1);
    }
}

fn add(number: &AtomicU64, more: usize) {
    number.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}
