//! In-memory backend of the service registry: the reference that the other backends are compared with, an embedded default for one
//! process, and a test double with no server.
//!
//! Expiry is exact on tokio's clock: with the clock paused, a test of a TTL takes no time and has one outcome.
//! [`MemoryRegistry::controls`] takes the registry away, empties it, forgets its history or ends a lease.
//!
//! ```
//! use std::time::Duration;
//! use registry_core::{Instance, RegisterOptions, Registry, Ttl};
//! use registry_memory::MemoryRegistry;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let registry = MemoryRegistry::new();
//! let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:8080").build()?;
//! registry.register(&instance, &RegisterOptions::new().with_ttl(Ttl::from_secs(10)?)).await?;
//!
//! tokio::time::advance(Duration::from_millis(9_999)).await;
//! assert_eq!(registry.lookup(instance.service()).await?.len(), 1);
//! tokio::time::advance(Duration::from_millis(1)).await;
//! assert_eq!(registry.lookup(instance.service()).await?.len(), 0);
//! # Ok::<(), registry_core::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod controls;
mod journal;
mod link;
mod options;
mod registry;
mod service;
mod source;
mod store;

pub use crate::controls::{Checkpoint, Controls};
pub use crate::journal::JournalItem;
pub use crate::options::MemoryOptions;
pub use crate::registry::MemoryRegistry;

/// The name of this backend in errors and logs.
pub const BACKEND: &str = "memory";
