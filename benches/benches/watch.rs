//! How long a change takes to whoever watches: in memory, and on etcd and Redis beside raw clients that watch the store itself.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a benchmark"
)]

mod support;

use std::time::Duration;

use benches::clients::{instance, ttl};
use benches::topics::stores::Store;
use benches::topics::stores::watch::{P50, topic};
use criterion::{Criterion, criterion_group, criterion_main};
use registry_core::{Directory, Instance, Lease, RegisterOptions, Registry, RegistryExt, View};
use registry_memory::MemoryRegistry;
use support::{blocks, runtime};
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
    c.benchmark_group("watch-memory").bench_function("ours", |b| {
        b.iter_custom(|changes| runtime.block_on(shown(&*registry, &lease, &versions, &mut view, changes)));
    });
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

/// An iteration is a block of changes at a steady rate, and what is shown is their median.
fn stores(c: &mut Criterion) {
    for store in [Store::Etcd, Store::Redis] {
        blocks(c, &*topic(store), &["ours", "raw"], P50, MICROS);
    }
}

criterion_group!(benches, memory, stores);
criterion_main!(benches);
