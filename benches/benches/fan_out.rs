//! How long it takes until so many subscribers of one process have read a change, by a view and by tokio's channels.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Duration;

use benches::work::delivery::{Delivery, Way};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Builder;

fn fan_out(c: &mut Criterion) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("fan-out");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for subscribers in [1, 10, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(subscribers as u64));
        let ways = [("view", Way::View), ("watch", Way::Watch), ("broadcast", Way::Broadcast)];
        for (name, way) in ways {
            group.bench_function(BenchmarkId::new(name, subscribers), |b| {
                let mut delivery = runtime.block_on(Delivery::start(way, subscribers)).unwrap();
                b.iter_custom(|changes| {
                    let changes = u32::try_from(changes).unwrap();
                    runtime.block_on(delivery.deliver(changes)).unwrap()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
