//! Metrics of a view: its age, how many instances it has, and what its guard and its file did.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::Meter;
use super::names::{VIEW_AGE, VIEW_DISK, VIEW_HELD, VIEW_HOLDS, VIEW_INSTANCES, VIEW_MALFORMED};
use crate::directory::{Freshness, View, ViewState, ViewStats};
use crate::name::ServiceName;
use crate::snapshot::Snapshot;

/// Its age is told this often; all else when it changes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the metrics of a view. When it is dropped they become 0, since a recorder forgets nothing.
#[derive(Debug)]
#[must_use = "a view is observed for as long as this is kept"]
pub struct Observed {
    task: AbortHandle,
}

impl Observed {
    pub(super) fn start(view: View, metrics: ViewMetrics) -> Self {
        Self { task: tokio::spawn(metrics.follow(view)).abort_handle() }
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
    age: Gauge,
    instances: Gauge,
    held: Gauge,
    malformed: Gauge,
    counters: Vec<Told>,
}

impl ViewMetrics {
    pub(super) fn new(meter: &Meter, service: &ServiceName) -> Self {
        let labels = || meter.of_service(service);
        let counted = |name: &'static str, key: &'static str, value: &'static str| {
            counter!(name, meter.of_service_and(service, key, value))
        };
        let counters: Vec<Told> = vec![
            (counted(VIEW_HOLDS, "state", "begun"), |stats| stats.holds_begun),
            (counted(VIEW_HOLDS, "state", "ended"), |stats| stats.holds_ended),
            (counted(VIEW_HOLDS, "state", "expired"), |stats| stats.holds_expired),
            (counted(VIEW_HOLDS, "state", "released"), |stats| stats.holds_released),
            (counted(VIEW_DISK, "outcome", "saved"), |stats| stats.disk_saved),
            (counted(VIEW_DISK, "outcome", "failed"), |stats| stats.disk_failed),
            (counted(VIEW_DISK, "outcome", "rejected"), |stats| stats.disk_rejected),
        ];
        Self {
            age: gauge!(VIEW_AGE, labels()),
            instances: gauge!(VIEW_INSTANCES, labels()),
            held: gauge!(VIEW_HELD, labels()),
            malformed: gauge!(VIEW_MALFORMED, labels()),
            counters,
        }
    }

    async fn follow(self, mut view: View) {
        let mut open = true;
        loop {
            self.report(&view.load(), view.stats(), Instant::now());
            tokio::select! {
                biased;
                more = view.changed(), if open => open = more,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    fn report(&self, state: &ViewState, stats: ViewStats, now: Instant) {
        self.age.set(age(state, now));
        self.instances.set(state.snapshot().map_or(0, Snapshot::len) as f64);
        self.held.set(state.held_len() as f64);
        self.malformed.set(state.snapshot().map_or(0, Snapshot::skipped) as f64);
        for (counter, number) in &self.counters {
            counter.absolute(number(&stats));
        }
    }
}

impl Drop for ViewMetrics {
    fn drop(&mut self) {
        [&self.age, &self.instances, &self.held, &self.malformed].iter().for_each(|gauge| gauge.set(0.0));
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
