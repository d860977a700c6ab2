//! What a pick costs, by policy and number of candidates.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use registry_core::pick::{Draw, PeakEwma, RoundRobin, p2c, random};
use tokio::time::Instant;

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for size in [1, 10, 1_000, 100_000] {
        let now = Instant::now();
        let candidates: Vec<_> = (0..size)
            .map(|_| PeakEwma::new(Duration::from_millis(1), Duration::from_secs(10), now))
            .collect();
        let (draw, turns) = (Draw::with_seed(1), RoundRobin::default());
        group.bench_function(BenchmarkId::new("p2c", size), |b| {
            b.iter(|| p2c(black_box(&candidates), |candidate| candidate.load(now), &draw));
        });
        group.bench_function(BenchmarkId::new("random", size), |b| {
            b.iter(|| random(black_box(&candidates), &draw));
        });
        group.bench_function(BenchmarkId::new("round robin", size), |b| {
            b.iter(|| turns.pick(black_box(&candidates)));
        });
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
