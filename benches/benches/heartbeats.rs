//! Registering ten thousand instances, and what it costs a client in processor time to keep them alive, beside a raw pipelined client.

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

use benches::clients::{Client, Ours, RawEtcd, RawRedis, instance, register_all};
use benches::topics::stores::heartbeats::{CPU, topic};
use benches::topics::stores::{Server, Store};
use comparisons::experiment::Trouble;
use criterion::{Criterion, criterion_group, criterion_main};
use support::{blocks, or_missing, runtime, slow};
use tokio::time::Instant;

const INSTANCES: usize = 10_000;

/// An iteration is a heartbeat of each, and what is shown is the processor time of this process.
fn heartbeats(c: &mut Criterion) {
    for store in [Store::Etcd, Store::Redis] {
        blocks(c, &*topic(store), &["ours", "raw"], CPU, 1.0);
    }
}

fn registering(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = slow(c, "register 10,000 instances, 32 at a time");
    for (store, name) in [(Store::Etcd, "etcd"), (Store::Redis, "Redis")] {
        for raw in [false, true] {
            let name = if raw { format!("{name}, raw") } else { name.to_owned() };
            let iteration = || runtime.block_on(registered(store, raw));
            if or_missing(&name, iteration()).is_none() {
                continue;
            }
            let time = || iteration().unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
            group.bench_function(&name, |b| b.iter_custom(|times| (0..times).map(|_| time()).sum()));
        }
    }
    group.finish();
}

/// How long it takes to register them in a store that has next to nothing yet.
async fn registered(store: Store, raw: bool) -> Result<Duration, Trouble> {
    let server = Server::installed(store).await?;
    match (store, raw) {
        (_, false) => all(&Ours::new(server.registry()?).connected().await?).await,
        (Store::Etcd, true) => all(&RawEtcd::connect(&server.url()).await?).await,
        (Store::Redis, true) => all(&RawRedis::connect(&server.url()).await?).await,
    }
}

async fn all<C: Client>(client: &C) -> Result<Duration, Trouble> {
    let published = |number| Ok(client.publish(&instance("many.rpc", number, 100)?));
    let published = (0..INSTANCES).map(published).collect::<registry_core::Result<_>>()?;
    // Whatever is done once by a client, such as telling the server a script.
    register_all(client, vec![client.publish(&instance("once.rpc", 0, 100)?)]).await?;
    let begun = Instant::now();
    register_all(client, published).await?;
    Ok(begun.elapsed())
}

criterion_group!(benches, heartbeats, registering);
criterion_main!(benches);
