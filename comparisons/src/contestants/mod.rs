//! Who is compared: registries as their users see them, behind one small trait, so that an experiment is written once for all.
//!
//! * [`Ours`]: anything behind the [`Registry`](registry_core::Registry) trait: in memory, etcd, Redis.
//! * [`NaiveHash`] and [`NaiveKey`]: the registries on Redis that people write. They are here to be compared with, and nowhere else.
//! * [`RawRedis`] and [`RawEtcd`]: the stores themselves, with no registry on top.

mod naive;
mod ours;
mod raw;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;

pub use naive::{NaiveHash, NaiveKey, Place};
pub use ours::{Ours, instance, value};
pub use raw::{Announce, RawEtcd, RawRedis};

use crate::experiment::Trouble;

/// Instances and their values: what one is changed to is a number, so that every change can be told from every other.
pub type Listed = BTreeMap<String, u64>;

/// What a watcher is told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// All there is. `gap` says that changes may have been missed before.
    List {
        /// All instances.
        listed: Listed,
        /// Whether it was said that something may be missing before it.
        gap: bool,
    },
    /// One instance now has this value, or is gone.
    Change {
        /// Which.
        id: String,
        /// Its value; none if it is gone.
        value: Option<u64>,
    },
    /// The registry is out of reach.
    Trouble(String),
    /// It is within reach again, and nothing has been missed.
    Recovered,
}

/// What a watcher is told. Dropping it ends the watch.
pub type Watching = Pin<Box<dyn Stream<Item = Seen> + Send>>;

/// A registry.
#[async_trait]
pub trait Contestant: Send + Sync {
    /// Lists `id` with `value` until `ttl` has passed without a heartbeat. Whoever had the id before loses it, as far as the registry can do that.
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble>;

    /// Watches a service, from a first list on.
    fn watch(&self, service: &str) -> Watching;

    /// All instances of a service.
    async fn list(&self, service: &str) -> Result<Listed, Trouble>;
}

/// An instance that is listed, in the hands of its process.
#[async_trait]
pub trait Member: Send + Sync {
    /// One heartbeat, as this registry's users send it.
    async fn renew(&self) -> Result<(), Trouble>;

    /// Changes its value, and tells all who watch.
    async fn set(&self, value: u64) -> Result<(), Trouble>;

    /// Takes it off the list, and tells all who watch.
    async fn leave(&self) -> Result<(), Trouble>;
}

/// Folds what a watcher was told into what it takes for the truth.
pub fn fold(listed: &mut Listed, seen: &Seen) {
    match seen {
        Seen::List { listed: all, .. } => listed.clone_from(all),
        Seen::Change { id, value: Some(value) } => drop(listed.insert(id.clone(), *value)),
        Seen::Change { id, value: None } => drop(listed.remove(id)),
        Seen::Trouble(_) | Seen::Recovered => {}
    }
}
