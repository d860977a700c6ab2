//! The servers of a backend, and what can be done to them.

use std::time::Duration;

use async_trait::async_trait;
use registry_memory::MemoryRegistry;

use super::fault::Fault;
use crate::experiment::Trouble;

/// Where a client finds its registry.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this process.
    Memory(MemoryRegistry),
    /// At a URL as `service_registry::connect` takes it.
    Url(String),
    /// `redis-naive` at a URL of Redis.
    NaiveUrl(String),
}

/// Who asks: faults of links can strike some and spare others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Watches, views and lookups: through the proxies that faults of links work on.
    Reader,
    /// Registers and renews. Where the servers tell clients the addresses of others (Sentinel, Cluster), links are the same as those of readers.
    Writer,
    /// The witness: past all faults, as far as there is such a way.
    Witness,
}

/// The servers of one backend, with a way to strike and heal each [`Fault`] that applies to it.
#[async_trait]
pub trait Stand: Send + Sync {
    /// Where a client in this role finds its registry.
    fn place(&self, role: Role) -> Place;

    /// Injects `fault`, which is to last for `lasting`, and returns once it is in place, with what was done: `SIGKILL to etcd-1, the leader`. What takes
    /// a target takes it by `random`. A fault that lasts by itself for a time (a pause, flaps) goes on after this returned.
    ///
    /// # Errors
    /// What this machine lacks ([`Trouble::NotRun`]), or what broke.
    async fn strike(
        &self,
        fault: Fault,
        lasting: Duration,
        random: &mut fastrand::Rng,
    ) -> Result<String, Trouble>;

    /// Takes `fault` back and waits until all servers serve as before; says whether it bit, and what shows that.
    ///
    /// # Errors
    /// What did not come back within its time.
    async fn heal(&self, fault: Fault) -> Result<Bite, Trouble>;

    /// Ends all servers and proxies, mounts and namespaces.
    async fn end(&self);
}

/// Whether a fault bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bite {
    /// Whether it did.
    pub bitten: bool,
    /// What shows it: a probe, or a count of bytes.
    pub proof: String,
}
