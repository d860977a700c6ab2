//! The in-memory backend's harness.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use registry_core::{Instance, InstanceId, Registry, ServiceName};
use registry_memory::{Checkpoint, Controls, MemoryOptions, MemoryRegistry};

use crate::conformance::{Backend, Link};

/// An in-memory store under test. It has every control but `malformed` (it holds no bytes), `power_cut` and `lose_minority`.
#[derive(Debug)]
pub struct MemoryBackend {
    store: MemoryRegistry,
    overflow: usize,
    clients: Mutex<Vec<MemoryRegistry>>,
    kept: Mutex<Option<Checkpoint>>,
}

impl MemoryBackend {
    /// A fresh store that behaves as usual.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// A fresh store that behaves as `options` say.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        let overflow = options.history.saturating_mul(2);
        let store = MemoryRegistry::with_options(options);
        Self { store, overflow, clients: Mutex::default(), kept: Mutex::default() }
    }

    /// The store, by a client of its own that no control touches.
    #[must_use]
    pub fn store(&self) -> &MemoryRegistry {
        &self.store
    }

    /// A new client.
    #[must_use]
    pub fn memory_client(&self) -> MemoryRegistry {
        let client = self.store.client();
        self.with_clients(|clients| clients.push(client.clone()));
        client
    }

    /// The connection of a client, for taking it away.
    #[must_use]
    pub fn link_of(client: &MemoryRegistry) -> Arc<dyn Link> {
        Arc::new(MemoryLink { controls: client.controls() })
    }

    fn controls(&self) -> Controls {
        self.store.controls()
    }

    fn with_clients<T>(&self, use_them: impl FnOnce(&mut Vec<MemoryRegistry>) -> T) -> T {
        use_them(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn client(&self) -> Arc<dyn Registry> {
        Arc::new(self.memory_client())
    }

    fn overflow(&self) -> usize {
        self.overflow
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let client = self.memory_client();
        let link = Self::link_of(&client);
        (Arc::new(client), link)
    }

    async fn pause(&self) {
        self.with_clients(|clients| clients.iter().for_each(|client| client.controls().black_hole()));
    }

    async fn resume(&self) {
        self.with_clients(|clients| clients.iter().for_each(|client| client.controls().heal()));
    }

    async fn compact(&self) {
        self.controls().compact();
    }

    async fn wipe(&self) {
        self.controls().wipe();
    }

    /// The store lives in the memory of one process, and dies with it.
    async fn restart(&self) {
        self.controls().wipe();
    }

    async fn checkpoint(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.controls().checkpoint());
    }

    async fn restore(&self) {
        if let Some(kept) = &*self.kept.lock().unwrap_or_else(PoisonError::into_inner) {
            self.controls().restore(kept);
        }
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.controls().delete(service, id);
    }

    async fn overwrite(&self, instance: &Instance) {
        self.controls().overwrite(instance);
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.controls().expire(service, id);
    }

    async fn fill(&self) {
        self.controls().set_capacity(0);
    }

    async fn unfill(&self) {
        self.controls().set_capacity(usize::MAX);
    }
}

#[derive(Debug)]
struct MemoryLink {
    controls: Controls,
}

#[async_trait]
impl Link for MemoryLink {
    async fn cut(&self) {
        self.controls.outage();
    }

    async fn black_hole(&self) {
        self.controls.black_hole();
    }

    async fn heal(&self) {
        self.controls.heal();
    }
}
