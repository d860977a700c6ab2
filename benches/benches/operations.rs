//! What an operation takes: in memory, beside a mutex and a map; on etcd and on Redis, beside a raw client that sends the same requests.

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

use benches::clients::{Client, InMap, Ours, RawEtcd, RawRedis};
use benches::lanes::run;
use benches::operator::{Operation, Operator};
use benches::topics::stores::{Server, Store};
use comparisons::experiment::Trouble;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use registry_core::RegistryExt;
use registry_memory::MemoryRegistry;
use support::{or_missing, runtime};
use tokio::runtime::Runtime;

/// Of a service that is looked up, and those that are renewed and changed.
const INSTANCES: usize = 100;

fn operations(c: &mut Criterion) {
    let runtime = runtime();
    let etcd = or_missing("etcd", runtime.block_on(Server::installed(Store::Etcd)));
    let redis = or_missing("Redis", runtime.block_on(Server::installed(Store::Redis)));
    let memory = {
        let _inside = runtime.enter();
        Ours::new(MemoryRegistry::new().shared())
    };
    let on_etcd = etcd.as_ref().map(|server| {
        let raw = runtime.block_on(RawEtcd::connect(&server.url())).expect("etcd was started");
        (Ours::new(server.registry().unwrap()), raw)
    });
    let on_redis = redis.as_ref().map(|server| {
        let raw = runtime.block_on(RawRedis::connect(&server.url())).expect("Redis was started");
        (Ours::new(server.registry().unwrap()), raw)
    });
    for operation in Operation::ALL {
        let mut group = c.benchmark_group(operation.name());
        group.sample_size(30);
        bench(&mut group, &runtime, "memory", &memory, operation);
        bench(&mut group, &runtime, "mutex and map", &InMap::default(), operation);
        if let Some((ours, raw)) = &on_etcd {
            bench(&mut group, &runtime, "etcd", ours, operation);
            bench(&mut group, &runtime, "etcd, raw", raw, operation);
        }
        if let Some((ours, raw)) = &on_redis {
            bench(&mut group, &runtime, "Redis", ours, operation);
            bench(&mut group, &runtime, "Redis, raw", raw, operation);
        }
        group.finish();
    }
    runtime.block_on(async { drop((etcd, redis)) });
}

fn bench<C: Client>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    client: &C,
    operation: Operation,
) {
    // Each has a service of its own, and their names are equally long.
    let whose = if name.ends_with("raw") { "raw1" } else { "ours" };
    let service = format!("{}-{whose}.rpc", operation.name());
    let listed = (operation == Operation::Lookup).then(|| {
        let mut listed = Operator::new(client, Operation::Keepalive, &service, 0..INSTANCES).unwrap();
        runtime.block_on(listed.make_ready()).unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
        listed
    });
    group.bench_function(name, |b| {
        b.iter_custom(|steps| {
            let steps = usize::try_from(steps).unwrap();
            let timed = runtime.block_on(timed(client, operation, &service, steps));
            timed.unwrap_or_else(|trouble| panic!("{name}: {trouble}"))
        });
    });
    drop(listed);
}

/// How long so many operations take, one after the other.
async fn timed<C: Client>(
    client: &C,
    operation: Operation,
    service: &str,
    steps: usize,
) -> Result<Duration, Trouble> {
    let members = match operation {
        Operation::Lookup => 0,
        _ if operation.uses_up() => steps,
        _ => INSTANCES,
    };
    let mut operator = Operator::new(client, operation, service, 0..members)?;
    operator.make_ready().await?;
    let (timed, operators) = run(vec![operator], steps).await?;
    for mut operator in operators {
        operator.leave().await?;
    }
    Ok(timed.elapsed)
}

criterion_group!(benches, operations);
criterion_main!(benches);
