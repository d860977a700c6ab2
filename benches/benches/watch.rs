//! How long a change takes to whoever watches: in memory beside a channel of tokio's, and on etcd and Redis beside raw clients that watch the store itself.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a benchmark"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use benches::clients::{instance, ttl};
use benches::topics::stores::Store;
use benches::topics::stores::watch::{P50, topic};
use criterion::{Criterion, criterion_group, criterion_main};
use registry_core::{Directory, Instance, Lease, RegisterOptions, Registry, RegistryExt, View};
use registry_memory::MemoryRegistry;
use support::{blocks, runtime};
use tokio::sync::watch;
use tokio::time::Instant;

const MICROS: f64 = 1e6;

fn memory(c: &mut Criterion) {
    let runtime = runtime();
    let (registry, lease, mut view) = runtime.block_on(async {
        let registry = MemoryRegistry::new().shared();
        let instance = instance("user.rpc", 0, 100).unwrap();
        let options = RegisterOptions::new().with_ttl(ttl());
        let lease = registry.register(&instance, &options).await.unwrap().lease;
        let view = Directory::new(registry.clone()).view(instance.service());
        view.ready().await;
        (registry, lease, view)
    });
    let versions = [100, 101].map(|weight| instance("user.rpc", 0, weight).unwrap());
    let mut group = c.benchmark_group("watch-memory");
    group.bench_function("ours", |b| {
        b.iter_custom(|changes| runtime.block_on(shown(&*registry, &lease, &versions, &mut view, changes)));
    });
    group.bench_function("tokio::sync::watch", |b| {
        b.iter_custom(|changes| runtime.block_on(told(&versions, changes)));
    });
    group.finish();
}

/// How long so many changes take, each until the view shows it.
async fn shown(
    registry: &dyn Registry,
    lease: &Lease,
    versions: &[Instance; 2],
    view: &mut View,
    changes: u64,
) -> Duration {
    let begun = Instant::now();
    for (_, version) in (0..changes).zip(versions.iter().cycle()) {
        let revision = registry.update(lease, version).await.unwrap();
        while view.load().snapshot().is_none_or(|snapshot| snapshot.revision() < revision) {
            assert!(view.changed().await, "the view has ended");
        }
    }
    begun.elapsed()
}

/// How long so many changes take, each until a channel that keeps the last value has told it. A task passes them on, as one does for a view.
async fn told(versions: &[Instance; 2], changes: u64) -> Duration {
    let (changed, mut feed) = watch::channel(Arc::new(versions[1].clone()));
    let (published, mut shown) = watch::channel(Arc::clone(&feed.borrow()));
    let passing = tokio::spawn(async move {
        while feed.changed().await.is_ok() {
            published.send_replace(Arc::clone(&feed.borrow_and_update()));
        }
    });
    let begun = Instant::now();
    for (_, version) in (0..changes).zip(versions.iter().cycle()) {
        changed.send_replace(Arc::new(version.clone()));
        shown.changed().await.unwrap();
        assert_eq!(shown.borrow_and_update().weight(), version.weight());
    }
    let elapsed = begun.elapsed();
    passing.abort();
    elapsed
}

/// An iteration is a block of changes at a steady rate, and what is shown is their median.
fn stores(c: &mut Criterion) {
    for store in [Store::Etcd, Store::Redis] {
        blocks(c, &*topic(store), &["ours", "raw"], P50, MICROS);
    }
}

criterion_group!(benches, memory, stores);
criterion_main!(benches);
