//! The suite on the in-memory backend, on wrappers of it, and on variants of its options.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_core::fault::{FaultPlan, Faults, Faulty};
use registry_core::layer::{Meter, Timeouts};
use registry_core::{Instance, InstanceId, Registry, RegistryExt, ServiceName};
use registry_memory::{MemoryOptions, MemoryRegistry};
use registry_testing::MemoryBackend;
use registry_testing::conformance::{Backend, Link};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The memory backend, each of whose clients is wrapped.
#[derive(Debug)]
struct Wrapped {
    memory: MemoryBackend,
    wrap: fn(MemoryRegistry) -> Arc<dyn Registry>,
}

impl Wrapped {
    fn new(wrap: fn(MemoryRegistry) -> Arc<dyn Registry>) -> Self {
        Self { memory: MemoryBackend::new(), wrap }
    }
}

/// A trait object behind another: every call goes through the implementation for `Arc`.
fn arc_of_arc(client: MemoryRegistry) -> Arc<dyn Registry> {
    let inner: Arc<dyn Registry> = Arc::new(client);
    Arc::new(inner)
}

fn faults_off(client: MemoryRegistry) -> Arc<dyn Registry> {
    let faults = Faults::new(FaultPlan::stormy(), 1);
    faults.set_on(false);
    Arc::new(Faulty::new(client, faults))
}

/// Every layer, each of which has something to do: whoever traces listens, metrics are kept, and no deadline is never.
fn layers(client: MemoryRegistry) -> Arc<dyn Registry> {
    let _ = tracing::subscriber::set_global_default(Listener);
    client.with_timeouts(Timeouts::default()).traced().metered(&Meter::new()).shared()
}

/// Listens to everything that is traced.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Operations take time, so that they can be dropped half way and overlap.
fn slow(client: MemoryRegistry) -> Arc<dyn Registry> {
    client.controls().set_latency(Duration::from_millis(1));
    Arc::new(client)
}

#[async_trait]
impl Backend for Wrapped {
    async fn client(&self) -> Arc<dyn Registry> {
        (self.wrap)(self.memory.memory_client())
    }

    fn overflow(&self) -> usize {
        self.memory.overflow()
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let client = self.memory.memory_client();
        let link = MemoryBackend::link_of(&client);
        ((self.wrap)(client), link)
    }

    async fn pause(&self) {
        self.memory.pause().await;
    }

    async fn resume(&self) {
        self.memory.resume().await;
    }

    async fn compact(&self) {
        self.memory.compact().await;
    }

    async fn wipe(&self) {
        self.memory.wipe().await;
    }

    async fn restart(&self) {
        self.memory.restart().await;
    }

    async fn checkpoint(&self) {
        self.memory.checkpoint().await;
    }

    async fn restore(&self) {
        self.memory.restore().await;
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.memory.delete(service, id).await;
    }

    async fn overwrite(&self, instance: &Instance) {
        self.memory.overwrite(instance).await;
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.memory.expire(service, id).await;
    }

    async fn fill(&self) {
        self.memory.fill().await;
    }

    async fn unfill(&self) {
        self.memory.unfill().await;
    }
}

registry_testing::conformance! {
    mod memory;
    harness: MemoryBackend::new();
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}

registry_testing::conformance! {
    mod trait_object;
    harness: Wrapped::new(arc_of_arc);
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}

registry_testing::conformance! {
    mod wrapper_without_faults;
    harness: Wrapped::new(faults_off);
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}

registry_testing::conformance! {
    mod within_layers;
    harness: Wrapped::new(layers);
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}

registry_testing::conformance! {
    mod with_latency;
    harness: Wrapped::new(slow);
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}

registry_testing::conformance! {
    mod late_expiry;
    harness: MemoryBackend::with_options(MemoryOptions::default().with_expiry_lag(Duration::from_millis(700)));
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}
