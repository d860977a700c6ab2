//! What a change costs a view, by the number of instances: applying it, finding the differences, reading.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use registry_core::{
    Batch, Change, Cursor, Directory, Entry, Epoch, Incarnation, Instance, Registry, Revision, ServiceName,
    Snapshot, diff,
};
use registry_memory::MemoryRegistry;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

fn entry(number: usize, revision: u64) -> Arc<Entry> {
    let built = Instance::builder("user.rpc").id(format!("i{number:06}")).endpoint("10.0.0.7:80").build();
    let revision = Revision::new(revision);
    Arc::new(Entry::new(built.unwrap(), Incarnation::new(1), revision, revision))
}

fn snapshot(size: usize) -> Snapshot {
    let cursor = Cursor::new(Epoch::new(1), Revision::new(1), 0);
    Snapshot::new(ServiceName::new("user.rpc").unwrap(), cursor, (0..size).map(|number| entry(number, 1)))
}

fn change(size: usize) -> Batch {
    let cursor = Cursor::new(Epoch::new(1), Revision::new(2), 0);
    Batch { cursor, changes: vec![Change::Put(entry(size / 2, 2))] }
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply one change");
    for size in SIZES {
        let (snapshot, change) = (snapshot(size), change(size));
        // The clone keeps the old version alive, as a reader would, so that nothing is changed in place.
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || snapshot.clone(),
                |mut next| black_box(next.apply(&change)).then_some(next),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn differences(c: &mut Criterion) {
    let mut group = c.benchmark_group("differences after one change");
    for size in SIZES {
        let old = snapshot(size);
        let mut new = old.clone();
        new.apply(&change(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| diff(Some(black_box(&old)), &new));
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let view = runtime.block_on(async {
        let registry = MemoryRegistry::new();
        registry.register(entry(1, 1).instance(), &registry_core::RegisterOptions::new()).await.unwrap();
        let view = Directory::new(Arc::new(registry)).view(&ServiceName::new("user.rpc").unwrap());
        view.ready().await;
        view
    });
    c.bench_function("read a view", |b| b.iter(|| black_box(view.load().entries().len())));
}

criterion_group!(benches, apply, differences, read);
criterion_main!(benches);
