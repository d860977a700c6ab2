//! What a change costs a view, by the number of instances: folding it, finding the differences; and what reading costs.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use benches::work::folding::{Folding, entry};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use registry_core::{Directory, RegisterOptions, Registry, ServiceName};
use registry_memory::MemoryRegistry;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

fn folds(c: &mut Criterion) {
    let mut group = c.benchmark_group("fold one change");
    for size in SIZES {
        let mut folding = Folding::new(size, Rng::with_seed(1)).unwrap();
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|changes| {
                // Not more at once than fit into memory beside the view.
                let at_once = |done: u64| u32::try_from((changes - done).min(5_000)).unwrap();
                let batches = (0..changes).step_by(5_000);
                batches.map(|done| folding.fold(at_once(done)).unwrap()).sum()
            });
        });
    }
    group.finish();
}

fn differences(c: &mut Criterion) {
    let mut group = c.benchmark_group("differences after one change");
    for size in SIZES {
        let mut folding = Folding::new(size, Rng::with_seed(1)).unwrap();
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|times| folding.differences(u32::try_from(times).unwrap()).unwrap());
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let view = runtime.block_on(async {
        let registry = MemoryRegistry::new();
        let entry = entry(1, 1).unwrap();
        registry.register(entry.instance(), &RegisterOptions::new()).await.unwrap();
        let view = Directory::new(Arc::new(registry)).view(&ServiceName::new("user.rpc").unwrap());
        view.ready().await;
        view
    });
    c.bench_function("read a view", |b| b.iter(|| black_box(view.load().entries().len())));
}

criterion_group!(benches, folds, differences, read);
criterion_main!(benches);
