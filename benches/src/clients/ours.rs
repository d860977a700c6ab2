//! The registry, through its trait.

use std::hint::black_box;
use std::sync::Arc;

use comparisons::experiment::Trouble;
use registry_core::{Instance, Lease, RegisterOptions, Registry, ServiceName};

use super::{Client, ttl};

/// Any backend behind the trait.
#[derive(Clone, Debug)]
pub struct Ours {
    registry: Arc<dyn Registry>,
}

impl Ours {
    /// Through `registry`.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry }
    }

    /// The same, connected: some backends are only with their first request.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn connected(self) -> Result<Self, Trouble> {
        // No service begins so, and none is looked at.
        self.registry.services("no-such-service").await?;
        Ok(self)
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }
}

impl Client for Ours {
    type Published = Instance;
    type Lease = Lease;

    fn publish(&self, instance: &Instance) -> Instance {
        instance.clone()
    }

    async fn register(&mut self, instance: &Instance) -> Result<Lease, Trouble> {
        let options = RegisterOptions::new().with_ttl(ttl());
        Ok(self.registry.register(instance, &options).await?.lease)
    }

    async fn keepalive(&mut self, lease: &Lease) -> Result<(), Trouble> {
        Ok(self.registry.keepalive(lease).await?)
    }

    async fn update(&mut self, lease: &mut Lease, instance: &Instance) -> Result<(), Trouble> {
        self.registry.update(lease, instance).await?;
        Ok(())
    }

    async fn deregister(&mut self, lease: Lease) -> Result<(), Trouble> {
        Ok(self.registry.deregister(&lease).await?)
    }

    async fn lookup(&mut self, service: &str) -> Result<usize, Trouble> {
        let listed = self.registry.lookup(&ServiceName::new(service)?).await?;
        Ok(black_box(listed).len())
    }
}
