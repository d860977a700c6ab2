//! What a pick costs, by policy and number of candidates.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use registry_core::pick::{
    Draw, LoadBound, PeakEwma, Ring, RoundRobin, Weighted, hash, p2c, random, rendezvous,
};
use tokio::time::Instant;

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for size in [1_u64, 10, 1_000, 100_000] {
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
        let identities = (0_u64..size).map(|at| (hash(&at.to_le_bytes()), 100 + (at % 2) as u32));
        let weighted: Vec<_> = identities.collect();
        let table = Weighted::new(weighted.iter().map(|one| one.1));
        group.bench_function(BenchmarkId::new("by weight", size), |b| b.iter(|| table.pick(&draw)));
        group.bench_function(BenchmarkId::new("in turn by weight", size), |b| {
            b.iter(|| table.in_turn(&turns))
        });
        group.bench_function(BenchmarkId::new("rendezvous", size), |b| {
            b.iter(|| rendezvous(black_box(&weighted), draw.next(), |one| *one));
        });
        // Loads as they are after a while: some at the bound.
        let (ring, bound) = (Ring::new(weighted.iter().copied()), LoadBound::default());
        group.bench_function(BenchmarkId::new("ring", size), |b| b.iter(|| ring.pick(draw.next())));
        group.bench_function(BenchmarkId::new("ring, bounded", size), |b| {
            b.iter(|| ring.pick_bounded(draw.next(), bound, 8 * size, |at| at as u64 % 17));
        });
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
