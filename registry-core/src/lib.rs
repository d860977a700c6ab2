//! Service registration and discovery: the [`Registry`] trait, its contract, and everything that is built on the trait alone.
//!
//! Data flows one way, and the modules follow it:
//!
//! 1. An [`Instance`] is registered with a [`Registry`], which gives a [`Lease`]. (Backends: the crates `registry-memory`,
//!    `registry-etcd`, `registry-redis`.)
//! 2. Heartbeats keep the lease; a [`Registrar`] does that, and heals what breaks.
//! 3. Every change becomes a [`WatchEvent`] of every [`Watch`]; the [`resume`] machine keeps the stream honest across
//!    reconnects.
//! 4. Events are folded ([`fold()`]) into a [`Snapshot`]; a [`Directory`] keeps one per service and tells the [`Difference`]s.
//! 5. A policy of [`pick`] chooses one of its instances.
//!
//! Deadlines, spans and metrics are [`layer`]s over any registry.
//!
//! For tests of what is built on this, [`fault`] makes any registry fail in lawful ways, from a seed.

pub mod backoff;
pub mod codec;
mod credentials;
mod cursor;
mod diff;
mod directory;
mod endpoint;
mod entropy;
mod error;
mod event;
mod ext;
pub mod fault;
mod fold;
mod guarantees;
mod instance;
pub mod layer;
mod lease;
mod metadata;
mod name;
pub mod pick;
mod published;
mod registrar;
mod registry;
pub mod resume;
mod snapshot;
pub mod time;

pub use crate::credentials::{Material, Tls, User};
pub use crate::cursor::{Cursor, Epoch, Revision};
pub use crate::diff::{Difference, diff};
pub use crate::directory::{
    Debounce, Differences, Directory, DirectoryOptions, DiskOptions, Filter, Folder, Freshness, GuardOptions,
    Held, HeldCause, Shelf, Subset, View, ViewOptions, ViewRef, ViewState, ViewStats, ZonePreference,
};
pub use crate::endpoint::Endpoint;
pub use crate::error::{Error, ErrorKind, Operation, Result, Retry};
pub use crate::event::{Batch, Change, DeleteCause, ResetCause, WatchEvent};
pub use crate::ext::RegistryExt;
pub use crate::fold::{Folded, fold};
pub use crate::guarantees::{
    AfterDisruption, DeleteCauses, Durability, GapDetection, Guarantees, RevisionScope,
};
pub use crate::instance::{Instance, InstanceBuilder, Status, Weight};
pub use crate::lease::{Incarnation, Lease, OnConflict, OwnerToken, RegisterOptions, Registration, Ttl};
pub use crate::metadata::{Iter as MetadataIter, Metadata};
pub use crate::name::{InstanceId, ServiceName, Version, Zone};
pub use crate::registrar::{Registrar, RegistrarOptions, RegistrarState, RegistrarStates, WhenFenced};
pub use crate::registry::{Feed, FeedItem, Registry, Watch, WatchSource};
pub use crate::snapshot::{Entry, Snapshot};
