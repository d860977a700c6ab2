//! A writer that knows what was acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};

use crate::contestants::Contestant;

/// No more writes than this are under way at a time.
const IN_FLIGHT: usize = 64;
/// Longer than any run.
const TTL: Duration = Duration::from_secs(3600);

/// Registers one new instance after the other, at a fixed rate or as fast as they are acknowledged. Instance `w-7` has the value 7.
pub(super) struct Writer {
    begun: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<Write>>>,
    task: JoinHandle<()>,
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Write {
    /// Its value.
    pub(super) value: u64,
    /// When its answer was there.
    pub(super) at: Instant,
}

impl Write {
    /// The instance that was registered.
    pub(super) fn id(self) -> String {
        id(self.value)
    }
}

fn id(value: u64) -> String {
    format!("w-{value}")
}

impl Writer {
    pub(super) fn start(contestant: Arc<dyn Contestant>, service: &'static str, per_second: u32) -> Self {
        let (begun, acknowledged) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (counter, log) = (Arc::clone(&begun), Arc::clone(&acknowledged));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            let mut writes = JoinSet::new();
            loop {
                ticks.tick().await;
                while writes.len() >= IN_FLIGHT {
                    let _ = writes.join_next().await;
                }
                while writes.try_join_next().is_some() {}
                let value = counter.fetch_add(1, Ordering::SeqCst);
                let (contestant, log) = (Arc::clone(&contestant), Arc::clone(&log));
                writes.spawn(async move {
                    if contestant.register(service, &id(value), value, TTL).await.is_ok() {
                        let write = Write { value, at: Instant::now() };
                        log.lock().unwrap_or_else(PoisonError::into_inner).push(write);
                    }
                });
            }
        });
        Self { begun, acknowledged, task }
    }

    /// Ends it, and gives what was acknowledged, in the order of the answers, and how many others were tried: what became of those is not known.
    ///
    /// To be called while the server is down, so that none of them arrives later.
    pub(super) async fn stop(self) -> (Vec<Write>, u64) {
        self.task.abort();
        let _ = self.task.await;
        let acknowledged =
            std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        let unknown = self.begun.load(Ordering::SeqCst) - acknowledged.len() as u64;
        (acknowledged, unknown)
    }
}
