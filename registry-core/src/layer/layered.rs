//! A registry within a layer: the one place where the operations are passed on.

use async_trait::async_trait;

use super::{Call, Layer};
use crate::cursor::{Cursor, Revision};
use crate::error::{Operation, Result};
use crate::guarantees::Guarantees;
use crate::instance::Instance;
use crate::lease::{Lease, RegisterOptions, Registration};
use crate::name::ServiceName;
use crate::registry::{Registry, Watch};
use crate::snapshot::Snapshot;

/// A registry within a [`Layer`]. It promises what the registry promises.
#[derive(Clone, Debug)]
pub struct Layered<R, L> {
    inner: R,
    layer: L,
}

impl<R, L> Layered<R, L> {
    /// `inner` within `layer`.
    #[must_use]
    pub fn new(inner: R, layer: L) -> Self {
        Self { inner, layer }
    }

    /// The registry within.
    #[must_use]
    pub fn inner(&self) -> &R {
        &self.inner
    }
}

#[async_trait]
impl<R: Registry, L: Layer> Registry for Layered<R, L> {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let call = Call::of_instance(Operation::Register, instance.service(), instance.id());
        self.layer.around(call, self.inner.register(instance, options)).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        let call = Call::of_lease(Operation::Keepalive, lease);
        self.layer.around(call, self.inner.keepalive(lease)).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let call = Call::of_lease(Operation::Update, lease);
        self.layer.around(call, self.inner.update(lease, instance)).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        let call = Call::of_lease(Operation::Deregister, lease);
        self.layer.around(call, self.inner.deregister(lease)).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        let call = Call { operation: Operation::Lookup, service: Some(service), id: None };
        self.layer.around(call, self.inner.lookup(service)).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let call = Call { operation: Operation::Services, service: None, id: None };
        self.layer.around(call, self.inner.services(prefix)).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        self.layer.watch(service, self.inner.watch(service, from))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
