//! What a layer costs an operation: a lookup over memory, which costs little itself, bare and within each.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use registry_core::layer::{Meter, Timeouts};
use registry_core::{Registry, RegistryExt, ServiceName};
use registry_memory::MemoryRegistry;
use tokio::runtime::Builder;

fn lookups(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let service = ServiceName::new("user.rpc").unwrap();
    let memory = MemoryRegistry::new();
    let meter = Meter::new();
    let all = memory.clone().with_timeouts(Timeouts::default()).traced().metered(&meter).shared();
    let registries: [(&str, Arc<dyn Registry>); 5] = [
        ("bare", memory.clone().shared()),
        ("timeouts", memory.clone().with_timeouts(Timeouts::default()).shared()),
        ("spans nobody listens to", memory.clone().traced().shared()),
        ("metrics nobody keeps", memory.metered(&meter).shared()),
        ("all three", all),
    ];
    let mut group = c.benchmark_group("lookup within");
    for (name, registry) in registries {
        group.bench_function(name, |b| b.iter(|| runtime.block_on(registry.lookup(&service)).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
