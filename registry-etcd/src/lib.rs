//! etcd backend of the service registry. Tested on etcd 3.4 and 3.5.
//!
//! ```no_run
//! # async fn example() -> registry_core::Result<()> {
//! use registry_etcd::{EtcdOptions, EtcdRegistry, Material, Tls};
//!
//! let members = ["https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"];
//! let options = EtcdOptions::new(members)
//!     .with_user("service", Material::file("/run/secrets/etcd-password"))
//!     .with_tls(Tls::new().with_ca(Material::file("/etc/etcd/ca.pem")));
//! let registry = EtcdRegistry::new(options)?;
//! # let _ = registry;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing waits for a server: what cannot be reached shows in what operations return, and in what watches tell.
//!
//! # Layouts
//! [`Layout::Json`], under one prefix (`/registry` by default):
//!
//! | key | value | lease |
//! | --- | --- | --- |
//! | `<prefix>/<service>/<id>` | the entry, as [`registry_core::codec`] writes it | of its owner |
//! | `<prefix>/<service>/~gone/<id>` | nothing: the owner's goodbye, gone with its lease a moment later | the same |
//! | `<prefix>/~store` | a random number, written once: the identity of this stretch of history | none |
//!
//! [`Layout::GoZero`], for finding and being found by services of go-zero; a service is what go-zero calls `Key`:
//!
//! | key | value | lease |
//! | --- | --- | --- |
//! | `<Key>/<number>` | `host:port` of the first endpoint, which is all that go-zero reads; absent while draining | of its owner |
//! | `<Key>.~meta/<id>` | the entry, as [`registry_core::codec`] writes it | the same |
//! | `<Key>.~meta/~gone/<id>` | nothing: the owner's goodbye, gone with its lease a moment later | the same |
//! | `~registry/store` | the identity of this stretch of history | none |
//!
//! Both keys of an entry are written and removed in one transaction. What go-zero servers publish is listed as `go-zero:<number>`, with nothing
//! but its address; two keys with one address are two instances. An entry whose address was deleted by hand is not listed, and its owner puts it back
//! within one heartbeat.
//!
//! # Users and TLS
//! A user needs to read and write what lies under the prefix (`/registry/` up to, not including, `/registry0`); with go-zero's layout, under
//! `<Key>.~meta/` up to `<Key>0`, and `~registry/store`. Who only reads needs only to read that. Passwords, certificates and keys are a [`Material`]: given, in a file, or fetched, and read
//! anew while in use, so that they can be replaced without a restart. What etcd refuses is
//! [`Unauthenticated`](registry_core::ErrorKind::Unauthenticated) and not shown again for 1 s, later up to 5 s, until it changes.
//! Every member that a client comes to use costs one login, which costs that member some 100 ms of computing.
//!
//! # How the promises are kept
//! - Registering and updating are transactions that compare the modification revision of what they replace; deregistering takes the entry off by
//!   such a transaction and ends the lease, and with it exactly what that lease holds. So all of them are atomic and fenced.
//! - A watch tells [`Deregistered`](registry_core::DeleteCause::Deregistered) where an owner has said goodbye. All else that ends an entry is
//!   [`Unknown`](registry_core::DeleteCause::Unknown): a lease that ran out, a deletion by hand, owners that use an older version or go-zero, and those that
//!   leave while etcd is full, all look the same.
//! - A heartbeat renews the lease and reads the lease and modification revision of its keys, because etcd renews a lease whether or not its keys still
//!   belong to it. Heartbeats of all leases of a client share one stream, and their reads share transactions. A lease that is lost is said to be lost as often
//!   as it is used.
//! - A request goes to the member that answered last, and to the next one as well when that is silent for
//!   [`hedge_after`](EtcdOptions::hedge_after), 16 such at a time. Every request may therefore be made twice, and none does harm when it is.
//! - While a member serves watches it is asked once in [`probe_interval`](EtcdOptions::probe_interval) for the store's identity, linearizably: one
//!   request for all watches. One that does not answer is left.
//! - A watch resumes at the last change it delivered, and requires that it comes back identical; of a service that was empty, that it was empty then.
//!   The store's identity is read in every transaction of a lookup, because a store that was wiped answers a watch from an old revision
//!   with silence, and its cluster id may be the same. When the history is seen to be another one (etcd answers with a lower revision than before, or
//!   has another change at a revision that was delivered), the identity is replaced, so that revisions of the two are never compared.
//! - What a consumer does not read is held up to 4,096 changes, and becomes one `Reset` when it is still not read a second later.
//!
//! # Limits
//! - etcd ends at most 1,000 leases in a second: of more that fall due together, the last are gone later than
//!   [`expiry_bound`](registry_core::Guarantees::expiry_bound) says.
//! - A leader that stood still for longer than a TTL may, when it goes on, end leases that its successor has renewed (etcd-io/etcd#12528 and #15247; seen on
//!   3.5.16 too). Their owners learn it with their next heartbeat and register again. So of several endpoints
//!   [`after_disruption`](registry_core::Guarantees::after_disruption) is the weakest.
//! - What is claimed goes by the number of endpoints: one is taken for a single node; of three or more, an acknowledged write survives the loss of a
//!   minority. Whether so many members stand behind them, and that they run without `--unsafe-no-fsync`, is for whoever deploys them.
//! - When a quota is exceeded, heartbeats, lookups and leaving go on, and new instances are refused as `StoreFull`. Releases before 3.4.20 and
//!   3.5.7 refuse reads in transactions then (etcd-io/etcd#13435), and with them lookups.
//! - Releases before 3.4.25 and 3.5.8 say too early that a watch has had everything (etcd-io/etcd#15220). There the cursor of a quiet service stays at its
//!   last change, and a reconnect after that was compacted is a `Reset`. Releases from these on to 3.4.30 and 3.5.12 say nothing of a watch that
//!   has had no event yet (etcd-io/etcd#17507): it may show as stale until its first. Use 3.5.13 or later where you can.

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
mod malformed;
mod member;
mod names;
mod options;
mod proof;
mod pulse;
mod registry;
mod source;
mod store;
mod write;

pub use crate::options::{EtcdOptions, Layout};
pub use crate::registry::EtcdRegistry;
pub use registry_core::{Material, Tls, User};

/// The name of this backend in errors and logs.
pub const BACKEND: &str = "etcd";
