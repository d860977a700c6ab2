//! Metrics of one watch, for as long as it is open.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use super::Meter;
use super::names::{MALFORMED, WATCH_CHANGES, WATCH_RESETS, WATCH_STALE_SECONDS, WATCHES, WATCHES_STALE};
use crate::event::{Change, DeleteCause, ResetCause, WatchEvent};
use crate::name::ServiceName;

pub(super) struct WatchMetrics {
    open: Gauge,
    stale: Gauge,
    stale_seconds: Histogram,
    resets: [(ResetCause, Counter); ResetCause::ALL.len()],
    put: Counter,
    deregistered: Counter,
    expired: Counter,
    gone: Counter,
    malformed: Counter,
    /// Since when it is stale.
    since: Option<Instant>,
}

impl WatchMetrics {
    pub(super) fn new(meter: &Meter, service: &ServiceName) -> Self {
        let labels = || meter.of_service(service);
        let change = |change| counter!(WATCH_CHANGES, meter.of_service_and(service, "change", change));
        let open = gauge!(WATCHES, labels());
        open.increment(1.0);
        Self {
            open,
            stale: gauge!(WATCHES_STALE, labels()),
            stale_seconds: histogram!(WATCH_STALE_SECONDS, labels()),
            resets: ResetCause::ALL.map(|cause| {
                (cause, counter!(WATCH_RESETS, meter.of_service_and(service, "cause", cause.name())))
            }),
            put: change("put"),
            deregistered: change("deregistered"),
            expired: change("expired"),
            gone: change("gone"),
            malformed: counter!(MALFORMED, meter.labels([])),
            since: None,
        }
    }

    pub(super) fn on(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Reset { snapshot, cause } => {
                let of_cause = self.resets.iter().filter(|(of, _)| of == cause);
                of_cause.for_each(|(_, resets)| resets.increment(1));
                self.malformed.increment(snapshot.skipped() as u64);
                self.is_current();
            }
            WatchEvent::Changes(batch) => batch.changes.iter().for_each(|change| self.change(change)),
            WatchEvent::Stale { since, .. } => {
                if self.since.is_none() {
                    self.stale.increment(1.0);
                    self.since = Some(*since);
                }
            }
            WatchEvent::Live { .. } | WatchEvent::Progress { .. } => self.is_current(),
        }
    }

    fn change(&self, change: &Change) {
        let counter = match change {
            Change::Put(_) => &self.put,
            Change::Delete { cause: DeleteCause::Deregistered, .. } => &self.deregistered,
            Change::Delete { cause: DeleteCause::Expired, .. } => &self.expired,
            Change::Delete { cause: DeleteCause::Unknown, .. } => &self.gone,
        };
        counter.increment(1);
    }

    fn is_current(&mut self) {
        if let Some(since) = self.since.take() {
            self.stale.decrement(1.0);
            self.stale_seconds.record(since.elapsed());
        }
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        self.open.decrement(1.0);
        if self.since.is_some() {
            self.stale.decrement(1.0);
        }
    }
}
