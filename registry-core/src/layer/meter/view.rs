//! Metrics of a view: its age, and how many instances it has.

use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::Meter;
use super::names::{VIEW_AGE, VIEW_HELD, VIEW_INSTANCES, VIEW_MALFORMED};
use crate::directory::{Freshness, View, ViewState};
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

pub(super) struct ViewMetrics {
    age: Gauge,
    instances: Gauge,
    held: Gauge,
    malformed: Gauge,
}

impl ViewMetrics {
    pub(super) fn new(meter: &Meter, service: &ServiceName) -> Self {
        let labels = || meter.of_service(service);
        Self {
            age: gauge!(VIEW_AGE, labels()),
            instances: gauge!(VIEW_INSTANCES, labels()),
            held: gauge!(VIEW_HELD, labels()),
            malformed: gauge!(VIEW_MALFORMED, labels()),
        }
    }

    async fn follow(self, mut view: View) {
        let mut open = true;
        loop {
            self.report(&view.load(), Instant::now());
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
        self.held.set(held(state) as f64);
        self.malformed.set(state.snapshot().map_or(0, Snapshot::skipped) as f64);
    }
}

impl Drop for ViewMetrics {
    fn drop(&mut self) {
        [&self.age, &self.instances, &self.held, &self.malformed].iter().for_each(|gauge| gauge.set(0.0));
    }
}

/// How long ago the view was last proven current; before that, how long ago its watch began.
fn age(state: &ViewState, now: Instant) -> Duration {
    let proven = match state.freshness() {
        Freshness::Live { proven } => *proven,
        Freshness::Stale { since, .. } | Freshness::Pending { since } => *since,
    };
    now.saturating_duration_since(proven)
}

/// How many instances the view holds by its guards: none, as long as it has none.
fn held(_: &ViewState) -> usize {
    0
}
