//! What a pick costs, by policy and number of candidates; and what it costs with the completion of the call, beside what others use.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use arc_swap::ArcSwap;
use benches::work::picking::{Floor, MapInTurn, MapLeastLoaded, Published, TowerP2c, channel};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use registry_core::pick::{
    Draw, LoadBound, Moment, PeakEwma, Ring, RoundRobin, Weighted, hash, p2c, random, rendezvous,
};
use registry_tonic::Policy;
use tokio::runtime::{Builder, Runtime};

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for size in [1_u64, 10, 1_000, 10_000, 100_000] {
        let now = Moment::now();
        let candidates: Vec<_> = (0..size)
            .map(|_| PeakEwma::new(Duration::from_millis(1), Duration::from_secs(10), now))
            .collect();
        let (draw, turns) = (Draw::with_seed(1), RoundRobin::default());
        group.bench_function(BenchmarkId::new("p2c", size), |b| {
            b.iter(|| p2c(black_box(&candidates), PeakEwma::rank, &draw));
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

/// Where the connection of a channel's endpoints is kept.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

/// What a call costs that is answered at once: by a channel with each of its policies, by the core alone, and by what others use.
fn calls(c: &mut Criterion) {
    let runtime = runtime();
    let policies = [
        ("a channel's p2c", Policy::PeakEwma, false),
        ("a channel's p2c, by weight", Policy::PeakEwma, true),
        ("a channel's round robin", Policy::RoundRobin, false),
        ("a channel's round robin, by weight", Policy::RoundRobin, true),
        ("a channel's consistent hash", Policy::ConsistentHash("x-key".parse().unwrap()), false),
    ];
    let mut group = c.benchmark_group("pick and completion");
    for size in [1, 10, 1_000, 10_000, 100_000] {
        for (name, policy, by_weight) in &policies {
            let (ours, keys) =
                (runtime.block_on(channel(size, policy.clone(), *by_weight, 1)).unwrap(), Draw::with_seed(2));
            group.bench_function(BenchmarkId::new(*name, size), |b| {
                b.iter(|| ours.call(keys.next(), || black_box(1)));
            });
        }
        let core = Published::new(size, 1);
        group.bench_function(BenchmarkId::new("p2c", size), |b| b.iter(|| core.call(black_box(1))));
        let mut tower = TowerP2c::new(size);
        group.bench_function(BenchmarkId::new("tower's p2c", size), |b| b.iter(|| tower.call(black_box(1))));
        let in_turn = MapInTurn::new(size);
        group.bench_function(BenchmarkId::new("mutex and map, in turn", size), |b| {
            b.iter(|| in_turn.call(black_box(1)));
        });
        let least = MapLeastLoaded::new(size);
        group.bench_function(BenchmarkId::new("mutex and map, least loaded", size), |b| {
            b.iter(|| least.call(black_box(1)));
        });
    }
    group.finish();
}

/// The pick alone, out of what is published, beside the bare loads: of the snapshot, and of the snapshot and two endpoints that are drawn.
fn published(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("pick of what is published");
    for size in [1, 10, 1_000, 10_000, 100_000] {
        for (name, by_weight) in [("a channel's p2c", false), ("a channel's p2c, by weight", true)] {
            let ours = runtime.block_on(channel(size, Policy::PeakEwma, by_weight, 1)).unwrap();
            group.bench_function(BenchmarkId::new(name, size), |b| b.iter(|| ours.pick(0)));
        }
        let core = Published::after_answers(size, 1);
        group.bench_function(BenchmarkId::new("p2c", size), |b| b.iter(|| core.pick()));
        // One alone is no choice.
        if size > 1 {
            let floor = Floor::new(size, 1);
            group.bench_function(BenchmarkId::new("snapshot and two loads", size), |b| {
                b.iter(|| floor.loads_of_two());
            });
        }
        let bare = ArcSwap::from_pointee(vec![0_u64; size]);
        group.bench_function(BenchmarkId::new("atomic load of the snapshot", size), |b| {
            b.iter(|| bare.load().len());
        });
    }
    group.finish();
}

criterion_group!(benches, picks, published, calls);
criterion_main!(benches);
