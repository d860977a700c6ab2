//! Metrics of a view: its age, how many instances it has, and what its guard and its file did.

use std::sync::PoisonError;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::names::{VIEW_AGE, VIEW_DISK, VIEW_HELD, VIEW_HOLDS, VIEW_INSTANCES, VIEW_MALFORMED, VIEW_RESETS};
use super::{Meter, Reported};
use crate::directory::{Freshness, View, ViewState, ViewStats};
use crate::event::ResetCause;
use crate::snapshot::Snapshot;

/// Its age is told this often; all else when it changes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the metrics of a view. When the last one of its service is dropped they become 0, since a recorder forgets nothing.
#[derive(Debug)]
#[must_use = "a view is observed for as long as this is kept"]
pub struct Observed {
    task: AbortHandle,
}

impl Observed {
    pub(super) fn start(metrics: ViewMetrics) -> Self {
        Self { task: tokio::spawn(metrics.follow()).abort_handle() }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A counter, and the number that it tells.
type Told = (Counter, fn(&ViewStats) -> u64);

pub(super) struct ViewMetrics {
    meter: Meter,
    view: View,
    age: Gauge,
    instances: Gauge,
    held: Gauge,
    malformed: Gauge,
    counters: Vec<Told>,
    resets: [(ResetCause, Counter); ResetCause::ALL.len()],
    /// The numbers of a view begin at 0 when it is made anew; the counters go on.
    reported: Reported,
}

impl ViewMetrics {
    pub(super) fn new(meter: &Meter, view: View) -> Self {
        let service = view.service();
        let labels = || meter.of_service(service);
        let counted = |name: &'static str, key: &'static str, value: &'static str| {
            counter!(name, meter.of_service_and(service, key, value))
        };
        let counters: Vec<Told> = vec![
            (counted(VIEW_HOLDS, "state", "begun"), |stats| stats.holds_begun),
            (counted(VIEW_HOLDS, "state", "ended"), |stats| stats.holds_ended),
            (counted(VIEW_HOLDS, "state", "expired"), |stats| stats.holds_expired),
            (counted(VIEW_HOLDS, "state", "released"), |stats| stats.holds_released),
            (counted(VIEW_HOLDS, "state", "premature"), |stats| stats.holds_premature),
            (counted(VIEW_DISK, "outcome", "saved"), |stats| stats.disk_saved),
            (counted(VIEW_DISK, "outcome", "failed"), |stats| stats.disk_failed),
            (counted(VIEW_DISK, "outcome", "rejected"), |stats| stats.disk_rejected),
        ];
        meter.observers(service, |observers| *observers += 1);
        Self {
            meter: meter.clone(),
            age: gauge!(VIEW_AGE, labels()),
            instances: gauge!(VIEW_INSTANCES, labels()),
            held: gauge!(VIEW_HELD, labels()),
            malformed: gauge!(VIEW_MALFORMED, labels()),
            counters,
            resets: ResetCause::ALL.map(|cause| (cause, counted(VIEW_RESETS, "cause", cause.name()))),
            reported: meter.reported(&view),
            view,
        }
    }

    async fn follow(self) {
        let (mut view, mut open) = (self.view.clone(), true);
        loop {
            self.report(&view.load(), Instant::now());
            self.count();
            tokio::select! {
                biased;
                more = view.changed(), if open => open = more,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    fn report(&self, state: &ViewState, now: Instant) {
        self.age.set(age(state, now));
        self.instances.set(state.snapshot().map_or(0, Snapshot::len) as f64);
        self.held.set(state.held_len() as f64);
        self.malformed.set(state.snapshot().map_or(0, Snapshot::skipped) as f64);
    }

    /// Adds what came since it was told last.
    fn count(&self) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = self.view.stats();
        for (counter, number) in &self.counters {
            counter.increment(number(&stats).saturating_sub(number(&reported)));
        }
        for (cause, counter) in &self.resets {
            counter.increment(stats.resets(*cause).saturating_sub(reported.resets(*cause)));
        }
        *reported = stats;
    }
}

impl Drop for ViewMetrics {
    fn drop(&mut self) {
        self.count();
        let gauges = [&self.age, &self.instances, &self.held, &self.malformed];
        self.meter.observers(self.view.service(), |observers| {
            *observers -= 1;
            // Others tell the same.
            if *observers == 0 {
                gauges.iter().for_each(|gauge| gauge.set(0.0));
            }
        });
    }
}

/// How long ago the view was last proven current, also by a process before this one, where it is from disk; before that, how long ago its watch began.
fn age(state: &ViewState, now: Instant) -> Duration {
    if let Some(age) = state.disk_age(now) {
        return age;
    }
    let proven = match state.freshness() {
        Freshness::Live { proven } => *proven,
        Freshness::Stale { since, .. } | Freshness::Pending { since } => *since,
    };
    now.saturating_duration_since(proven)
}
