//! The servers of a backend, and what can be done to them.

mod canary;
mod clock;
mod data;
mod foreign;
mod forgetting;
mod freezing;
mod full;
mod handover;
mod left_over;
mod links;
mod memory;
mod network;
mod on_servers;
mod processes;
mod programs;
mod set_up;
mod site;
mod struck;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use registry_memory::MemoryRegistry;

use super::backend::Backend;
use super::fault::Fault;
use crate::experiment::Trouble;

pub use left_over::clean_left_over;
pub use programs::Programs;

/// Where a client finds its registry.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this process.
    Memory(MemoryRegistry),
    /// At a URL as `service_registry::connect` takes it.
    Url(String),
    /// At a URL of a group of Redis servers, which tell clients each other's addresses; and where those that have data are themselves, past all proxies.
    Group {
        /// As `service_registry::connect` takes it.
        url: String,
        /// Each of them.
        servers: Vec<SocketAddr>,
    },
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

    /// Takes `fault` back and waits until all servers serve as before, unless another fault is still in place; says whether it bit, and what shows
    /// that. If the future is dropped, the fault may be left in place for good.
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

/// Starts the servers of `backend`, with what `faults` need to be injected (disks, clocks, proxies) and nothing else, and waits until they serve.
///
/// # Errors
/// [`Trouble::NotRun`] where the machine lacks a program, a compiler, or root; what broke.
pub async fn start(
    backend: Backend,
    faults: &[Fault],
    programs: &Programs,
) -> Result<Box<dyn Stand>, Trouble> {
    if let Some(fault) = faults.iter().find(|fault| fault.on(backend).is_none()) {
        return Err(Trouble::failed(format!("{fault} does not apply to {backend}")));
    }
    Ok(match backend {
        Backend::Memory => Box::new(memory::InMemory::new()),
        _ => Box::new(on_servers::OnServers::new(set_up::start(backend, faults, programs).await?)),
    })
}
