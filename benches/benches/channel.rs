//! What a call through the balanced channel takes, one after the other, beside one through tonic's own and through tonic's balancer; with spans and metrics on.
//!
//! How many calls are answered in a second, as a ratio in one run, is the topic `grpc` of `benches bars`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use benches::work::grpc::{Background, Caller, Servers, balanced, instrument, ours, plain};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};

fn calls(c: &mut Criterion) {
    instrument().unwrap();
    let calling = Background::start().unwrap();
    let runtime = calling.handle();
    let mut group = c.benchmark_group("gRPC call");
    for size in [1, 3] {
        let servers = Servers::start(size).unwrap();
        let addresses = || servers.addresses.clone();
        bench(&mut group, &calling, "ours", size, &runtime.block_on(ours(addresses())).unwrap());
        let (client, _further) = runtime.block_on(balanced(addresses())).unwrap();
        bench(&mut group, &calling, "tonic's balance_channel", size, &client);
        if size == 1 {
            let client = runtime.block_on(plain(servers.addresses[0])).unwrap();
            bench(&mut group, &calling, "plain tonic", size, &client);
        }
    }
    group.finish();
}

/// The caller is a task of the runtime, as in a program: what wakes it then is in its own thread.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    calling: &Background,
    name: &str,
    size: usize,
    client: &(impl Caller + Sync),
) {
    group.bench_function(BenchmarkId::new(name, size), |b| {
        b.iter_custom(|calls| {
            let mut client = client.clone();
            let all = calling.handle().spawn(async move {
                let start = tokio::time::Instant::now();
                for _ in 0..calls {
                    client.call().await.unwrap();
                }
                start.elapsed()
            });
            calling.handle().block_on(all).unwrap()
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
