//! Changes that go on while something is done to the servers, and what must be true of views afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use registry_core::{Registrar, RegistrarState, Registry, Revision};
use registry_redis::RedisRegistry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Record, eventually, instance, lasting, registrar, user, weighing};

/// The instance that is updated all the time.
const UPDATED: usize = 90;

/// Registrars that keep their instances, and a writer that updates one, registering it again when it must.
pub(crate) struct Churn {
    registrars: Vec<Registrar>,
    written: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Vec<Revision>>,
}

/// What was acknowledged.
pub(crate) struct Churned {
    registrars: Vec<Registrar>,
    acknowledged: Vec<Revision>,
}

impl Churn {
    pub(crate) async fn start(registry: &RedisRegistry, registrars: usize) -> Self {
        let registrars: Vec<_> = (0..registrars).map(|n| registrar(registry, n, 5)).collect();
        for registrar in &registrars {
            timeout(PATIENCE, registrar.registered()).await.unwrap().unwrap();
        }
        let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = tokio::spawn(write(registry.clone(), Arc::clone(&written), Arc::clone(&stop)));
        Self { registrars, written, stop, writer }
    }

    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) async fn until_written(&self, count: usize) {
        let what = format!("{count} writes");
        eventually(&what, PATIENCE, async || (self.written() >= count).then_some(())).await;
    }

    pub(crate) async fn stop(self) -> Churned {
        self.stop.store(true, Ordering::Relaxed);
        Churned { registrars: self.registrars, acknowledged: self.writer.await.unwrap() }
    }
}

async fn write(registry: RedisRegistry, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Vec<Revision> {
    let mut acknowledged = Vec::new();
    let mut lease = None;
    let mut weight = 0;
    while !stop.load(Ordering::Relaxed) {
        weight = (weight + 1) % 1_000;
        let outcome = match &lease {
            None => registry.register(&instance(UPDATED), &lasting()).await.map(|registration| {
                lease = Some(registration.lease);
                registration.revision
            }),
            Some(held) => registry.update(held, &weighing(UPDATED, weight)).await,
        };
        match outcome {
            Ok(revision) => {
                acknowledged.push(revision);
                written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.retry() == registry_core::Retry::Resync => lease = None,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
        tokio::task::yield_now().await;
    }
    acknowledged
}

impl Churned {
    /// Nothing was told twice or out of order, and what was acknowledged was told, unless a `Reset` says that it cannot be.
    pub(crate) fn require_told(&self, record: &Record) {
        record.told(|told| {
            if told.resets.len() > 1 {
                eprintln!("resets: {:?}", told.resets);
                return;
            }
            let order: Vec<_> = told.changes.iter().map(|(at, _)| *at).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "each once and in order");
            // What was acknowledged before the record began was in its first snapshot.
            let first = order.first().copied().unwrap_or_default();
            let missing: Vec<_> =
                self.acknowledged.iter().filter(|at| **at >= first && !order.contains(at)).collect();
            assert!(missing.is_empty(), "acknowledged and neither told nor reset: {missing:?}");
        });
    }

    /// Every registrar is registered, and listed.
    pub(crate) async fn require_registered(&self, registry: &RedisRegistry) {
        eventually("every registrar is registered and listed", Duration::from_secs(5), async || {
            let listed = registry.lookup(&user()).await.ok()?;
            let there = (0..self.registrars.len()).all(|n| listed.get(instance(n).id()).is_some());
            let registered =
                |registrar: &Registrar| matches!(*registrar.state(), RegistrarState::Registered { .. });
            (there && self.registrars.iter().all(registered)).then_some(())
        })
        .await;
    }
}

/// Waits until the view is what a lookup gives, and is current.
pub(crate) async fn agree(record: &Record, registry: &RedisRegistry, deadline: Instant) {
    let within = deadline.saturating_duration_since(Instant::now());
    eventually("the view is what is there", within, async || {
        let listed = registry.lookup(&user()).await.ok()?;
        record.told(|told| {
            let view = told.view.as_ref()?;
            (!told.stale && view.iter().eq(listed.iter())).then_some(())
        })
    })
    .await;
}
