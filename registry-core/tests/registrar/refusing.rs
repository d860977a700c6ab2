//! A registry that refuses one weight for good.

use super::*;

/// Refuses it to whoever registers, and to whoever updates.
pub(crate) fn refusing(registry: &MemoryRegistry, weight: u32) -> Arc<dyn Registry> {
    Arc::new(Refusing { inner: registry.clone(), weight, registers: AtomicUsize::new(0) })
}

#[derive(Debug)]
pub(crate) struct Refusing {
    pub(crate) inner: MemoryRegistry,
    pub(crate) weight: u32,
    /// How often it was asked to register.
    pub(crate) registers: AtomicUsize,
}

impl Refusing {
    fn check(&self, instance: &Instance) -> registry_core::Result<()> {
        match instance.weight().get() == self.weight {
            true => Err(registry_core::Error::invalid("weight", "is not liked here")),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Registry for Refusing {
    async fn register(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> registry_core::Result<registry_core::Registration> {
        self.registers.fetch_add(1, Ordering::Relaxed);
        self.check(instance)?;
        self.inner.register(instance, options).await
    }

    async fn keepalive(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.keepalive(lease).await
    }

    async fn update(
        &self,
        lease: &registry_core::Lease,
        instance: &Instance,
    ) -> registry_core::Result<registry_core::Revision> {
        self.check(instance)?;
        self.inner.update(lease, instance).await
    }

    async fn deregister(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> registry_core::Result<registry_core::Snapshot> {
        self.inner.lookup(service).await
    }

    async fn services(&self, prefix: &str) -> registry_core::Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<registry_core::Cursor>) -> registry_core::Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> registry_core::Guarantees {
        self.inner.guarantees()
    }
}
