//! Calls at a steady rate, and what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use service_registry::tonic::Channel;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Status;

use super::support::{call, eventually, within};

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// By whom it was answered.
    pub(crate) outcome: Result<String, Status>,
}

/// Calls that are begun at a fixed rate, whether or not those before them are answered.
pub(crate) struct Calls {
    stop: watch::Sender<bool>,
    begun: Arc<AtomicU32>,
    task: JoinHandle<Vec<Called>>,
}

impl Calls {
    /// Each of them takes its server `work_ms`.
    pub(crate) fn start(channel: &Channel, per_second: u32, work_ms: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let begun = Arc::new(AtomicU32::new(0));
        let (channel, counting) = (channel.clone(), Arc::clone(&begun));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (mut calls, mut all) = (JoinSet::new(), Vec::new());
            while !*stopped.borrow() {
                ticks.tick().await;
                let channel = channel.clone();
                calls.spawn(async move {
                    let at = Instant::now();
                    let outcome = call(&channel, work_ms).await;
                    Called { at, took: at.elapsed(), outcome }
                });
                counting.fetch_add(1, Ordering::SeqCst);
                while let Some(called) = calls.try_join_next() {
                    all.push(called.unwrap());
                }
            }
            while let Some(called) = calls.join_next().await {
                all.push(called.unwrap());
            }
            all
        });
        Self { stop, begun, task }
    }

    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until so many were begun since the start.
    pub(crate) async fn reach(&self, begun: u32) {
        while self.begun() < begun {
            let before = self.begun();
            eventually("calls go on", || self.begun() > before).await;
        }
    }

    pub(crate) async fn stop(self) -> Vec<Called> {
        self.stop.send_replace(true);
        within("an end of all calls", self.task).await.unwrap()
    }
}

/// How many each server answered.
pub(crate) fn answers(all: &[Called]) -> BTreeMap<&str, u32> {
    let mut answers = BTreeMap::new();
    for server in all.iter().filter_map(|called| called.outcome.as_ref().ok()) {
        *answers.entry(server.as_str()).or_default() += 1;
    }
    answers
}

pub(crate) fn failures(all: &[Called]) -> Vec<&Called> {
    all.iter().filter(|called| called.outcome.is_err()).collect()
}

/// The time that 99 of 100 took at most, in ms.
pub(crate) fn p99(took: impl IntoIterator<Item = Duration>) -> f64 {
    let mut took: Vec<Duration> = took.into_iter().collect();
    took.sort_unstable();
    assert!(took.len() >= 100, "{} calls have no 99th percentile", took.len());
    took[(took.len() - 1) * 99 / 100].as_secs_f64() * 1e3
}
