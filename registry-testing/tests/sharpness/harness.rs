//! A defective store as a backend under test. It says that it has every control but `malformed`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{Instance, InstanceId, Registry, ServiceName, Ttl};
use registry_memory::{MemoryOptions, MemoryRegistry};
use registry_testing::MemoryBackend;
use registry_testing::conformance::{Backend, Link};

use crate::defect::Defect;
use crate::registry::{Broken, Shared};

#[derive(Debug)]
pub(crate) struct BrokenBackend {
    memory: MemoryBackend,
    shared: Arc<Shared>,
}

impl BrokenBackend {
    pub(crate) fn new(defect: Defect) -> Self {
        let options = MemoryOptions::default().with_seed(7);
        let options = match defect {
            Defect::BoundOverclaimed => options.with_expiry_lag(Duration::from_millis(700)),
            Defect::UnboundedForSleepers => options.with_history(1 << 20),
            _ => options,
        };
        let memory = MemoryBackend::with_options(options);
        let shared = Shared {
            defect,
            store: memory.store().clone(),
            second: MemoryRegistry::new(),
            known: Default::default(),
            names: Default::default(),
            left: Default::default(),
            cache: Default::default(),
            registered: Default::default(),
            lookups: Default::default(),
            clients: Default::default(),
            stales: Default::default(),
            full: Default::default(),
            busy: Default::default(),
            broken: Default::default(),
            watches: Default::default(),
        };
        Self { memory, shared: Arc::new(shared) }
    }

    /// Registers everything anew, with TTLs of `ttl`.
    async fn prolong(&self, ttl: impl Fn(Ttl) -> Duration) {
        let known: Vec<_> = self.shared.known.lock().unwrap().values().cloned().collect();
        for known in known {
            let ttl = Ttl::new(ttl(known.registration.ttl)).unwrap_or(Ttl::MAX);
            let _ = self.shared.store.register(&known.instance, &known.options.with_ttl(ttl)).await;
        }
    }

    fn expire_all(&self) {
        for (service, id) in self.shared.known.lock().unwrap().keys() {
            self.shared.store.controls().expire(service, id);
        }
    }
}

#[async_trait]
impl Backend for BrokenBackend {
    async fn client(&self) -> Arc<dyn Registry> {
        Arc::new(Broken::new(self.memory.memory_client(), &self.shared))
    }

    fn overflow(&self) -> usize {
        2048
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let client = self.memory.memory_client();
        let link = MemoryBackend::link_of(&client);
        (Arc::new(Broken::new(client, &self.shared)), link)
    }

    async fn pause(&self) {
        self.memory.pause().await;
        if matches!(self.shared.defect, Defect::ExactOverclaimed | Defect::OneTtlOverclaimed) {
            self.prolong(|_| Duration::from_secs(3600)).await;
        }
    }

    async fn resume(&self) {
        match self.shared.defect {
            Defect::ExactOverclaimed => self.prolong(Ttl::get).await,
            Defect::OneTtlOverclaimed => self.prolong(|ttl| ttl.get() * 3).await,
            Defect::KeepingOverclaimed => self.expire_all(),
            _ => {}
        }
        self.memory.resume().await;
    }

    async fn compact(&self) {
        self.memory.compact().await;
    }

    async fn wipe(&self) {
        self.memory.wipe().await;
    }

    async fn restart(&self) {
        match self.shared.defect {
            Defect::RestartExtends => self.prolong(|ttl| ttl.get() * 5).await,
            Defect::RestartExpires => self.expire_all(),
            _ => self.memory.restart().await,
        }
    }

    async fn power_cut(&self) {
        self.memory.wipe().await;
    }

    async fn lose_minority(&self) {
        self.memory.wipe().await;
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
        self.shared.full.store(true, Ordering::Relaxed);
        self.memory.fill().await;
    }

    async fn unfill(&self) {
        self.shared.full.store(false, Ordering::Relaxed);
        self.memory.unfill().await;
    }
}
