//! Faults above the resume machine: on every operation.

use async_trait::async_trait;

use super::plan::Faults;
use crate::cursor::{Cursor, Revision};
use crate::error::{Operation, Result};
use crate::guarantees::Guarantees;
use crate::instance::Instance;
use crate::lease::{Lease, RegisterOptions, Registration};
use crate::name::ServiceName;
use crate::registry::{Registry, Watch};
use crate::snapshot::Snapshot;

/// A registry whose operations fail as seeded dice decide. Watches pass through untouched; for faults in them see
/// [`FaultySource`](super::FaultySource).
#[derive(Clone, Debug)]
pub struct Faulty<R> {
    inner: R,
    faults: Faults,
}

impl<R> Faulty<R> {
    /// `inner`, with `faults`.
    #[must_use]
    pub fn new(inner: R, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl<R: Registry> Registry for Faulty<R> {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.faults.around(Operation::Register, self.inner.register(instance, options)).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.faults.around(Operation::Keepalive, self.inner.keepalive(lease)).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.faults.around(Operation::Update, self.inner.update(lease, instance)).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.faults.around(Operation::Deregister, self.inner.deregister(lease)).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.faults.around(Operation::Lookup, self.inner.lookup(service)).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.faults.around(Operation::Services, self.inner.services(prefix)).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
