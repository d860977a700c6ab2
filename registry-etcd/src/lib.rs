//! etcd backend of the service registry.
//!
//! ```no_run
//! # async fn example() -> registry_core::Result<()> {
//! use registry_etcd::{EtcdOptions, EtcdRegistry};
//!
//! let registry = EtcdRegistry::new(EtcdOptions::new(["http://127.0.0.1:2379"]))?;
//! # let _ = registry;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! Everything lies under one prefix (`/registry` by default):
//!
//! | key | value | lease |
//! | --- | --- | --- |
//! | `<prefix>/<service>/<id>` | the entry, as [`registry_core::codec`] writes it | of its owner |
//! | `<prefix>/~store` | a random number, written once: the identity of this stretch of history | none |
//!
//! Service names have no `/` and no `~`, so no service can be the prefix of another, nor reach the second key.
//!
//! # How the promises are kept
//! - Registering, updating and deregistering are transactions that compare the entry's modification revision or its lease. So they are
//!   atomic and fenced.
//! - A heartbeat renews the lease and reads the entry's lease and modification revision: etcd renews a lease whether or not its key still belongs
//!   to it.
//! - A watch resumes at the last change it delivered, and requires that it comes back identical. The store's identity is read in
//!   every transaction of a lookup, because a store that was wiped answers a watch from an old revision with silence.

mod connection;
mod credentials;
mod error;
mod feed;
mod fence;
mod heartbeat;
mod held;
mod layout;
mod load;
mod login;
mod member;
mod names;
mod options;
mod proof;
mod pulse;
mod registry;
mod source;
mod store;
mod write;

pub use crate::credentials::{Material, Tls, User};
pub use crate::options::{EtcdOptions, Layout};
pub use crate::registry::EtcdRegistry;

/// The name of this backend in errors and logs.
pub const BACKEND: &str = "etcd";
