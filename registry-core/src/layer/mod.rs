//! Layers over any registry: what is to be done around every operation, and to every watch, whichever backend it is.
//!
//! A registry within a layer is a registry ([`Layered`]): it keeps the whole contract, and passes through what the layer has nothing to do with,
//! [`guarantees`](crate::Registry::guarantees) included. [`RegistryExt`](crate::RegistryExt) puts one around another, the last one outermost:
//!
//! ```
//! # use std::sync::Arc;
//! use registry_core::layer::Timeouts;
//! use registry_core::{Registry, RegistryExt};
//!
//! fn observed(registry: Arc<dyn Registry>) -> Arc<dyn Registry> {
//!     // Deadlines inside, so that spans and metrics tell what ran into one.
//!     let registry = registry.with_timeouts(Timeouts::default()).traced();
//!     # #[cfg(feature = "metrics")]
//!     let registry = registry.metered(&registry_core::layer::Meter::new());
//!     registry.shared()
//! }
//! ```
//!
//! | layer | what it does | what it costs an operation |
//! | --- | --- | --- |
//! | [`Timeouts`] | a deadline for each operation | 500 instructions |
//! | [`Spans`] | a tracing span for each operation, an event for what a watch goes through | 440; where spans are kept, 1,440 and what the subscriber does with them |
//! | `Meter` (feature `metrics`) | operations, latencies, errors by kind, resets by cause; views and registrars too | 560; told to a Prometheus exporter, 760 |
//! | [`Faults`](crate::fault::Faults) | seeded faults, for tests | |
//!
//! The costs are instructions counted by callgrind, among them one allocation for a future (`registry-core/tests/layers.rs`); all three together took 0.1 µs
//! with nobody listening, and 0.5 µs with both a subscriber and an exporter, where one of 10,000 heartbeats over etcd costs a client some 50 µs. `cargo bench -p benches --bench layers`
//! measures it on your machine. A watch costs nothing between its items.
//!
//! Your own layer implements [`Layer`]. It has to keep the contract too: give what it was given, or fail as the contract allows.

mod layered;
#[cfg(feature = "metrics")]
pub mod meter;
mod spans;
mod timeouts;

use std::fmt;
use std::future::Future;

pub use self::layered::Layered;
#[cfg(feature = "metrics")]
pub use self::meter::Meter;
pub use self::spans::Spans;
pub use self::timeouts::Timeouts;
use crate::cursor::Revision;
use crate::error::{Operation, Result};
use crate::lease::{Lease, Registration};
use crate::name::{InstanceId, ServiceName};
use crate::registry::Watch;
use crate::snapshot::Snapshot;

/// What is done around every operation of a registry, and to every watch.
pub trait Layer: fmt::Debug + Send + Sync + 'static {
    /// Does `call`, whose result `answer` gives once it is awaited; nothing happens before.
    ///
    /// # Dropping the future
    /// Is dropping `answer`: what it asked for may or may not have happened.
    fn around<T: Answer>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Gives the watch of `service` to the caller. What is given must keep W1 to W10 of [`Registry::watch`](crate::Registry::watch). Default: as
    /// it is.
    fn watch(&self, service: &ServiceName, watch: Watch) -> Watch {
        let _ = service;
        watch
    }
}

/// One call of an operation: which, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    operation: Operation,
    service: Option<&'a ServiceName>,
    id: Option<&'a InstanceId>,
}

impl<'a> Call<'a> {
    fn of_instance(operation: Operation, service: &'a ServiceName, id: &'a InstanceId) -> Self {
        Self { operation, service: Some(service), id: Some(id) }
    }

    fn of_lease(operation: Operation, lease: &'a Lease) -> Self {
        Self::of_instance(operation, lease.service(), lease.id())
    }

    /// The operation: one of the six that are asked for and answered.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The service; `None` for [`services`](crate::Registry::services).
    #[must_use]
    pub fn service(&self) -> Option<&'a ServiceName> {
        self.service
    }

    /// The instance, where the operation is about one.
    #[must_use]
    pub fn id(&self) -> Option<&'a InstanceId> {
        self.id
    }
}

/// What an operation of a registry gives: what layers can know of it, whichever operation it was.
pub trait Answer: sealed::Sealed + Send {
    /// The revision that it made, or shows.
    fn revision(&self) -> Option<Revision> {
        None
    }

    /// The instances, if it lists any.
    fn snapshot(&self) -> Option<&Snapshot> {
        None
    }
}

impl Answer for () {}

impl Answer for Registration {
    fn revision(&self) -> Option<Revision> {
        Some(self.revision)
    }
}

impl Answer for Revision {
    fn revision(&self) -> Option<Revision> {
        Some(*self)
    }
}

impl Answer for Snapshot {
    fn revision(&self) -> Option<Revision> {
        Some(Self::revision(self))
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        Some(self)
    }
}

impl Answer for Vec<ServiceName> {}

mod sealed {
    /// The answers are those of the trait.
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for crate::lease::Registration {}
    impl Sealed for crate::cursor::Revision {}
    impl Sealed for crate::snapshot::Snapshot {}
    impl Sealed for Vec<crate::name::ServiceName> {}
}
