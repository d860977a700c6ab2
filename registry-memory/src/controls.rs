//! What tests can do to a store and to one client's connection to it.

use std::fmt;
use std::time::Duration;

use registry_core::{DeleteCause, Instance, InstanceId, ServiceName};
use tokio::time::Instant;

use crate::journal::JournalItem;
use crate::link::Condition;
use crate::registry::MemoryRegistry;
use crate::store::Store;

/// What tests can do to a store, and to the connection of the client it was asked from. Each takes effect at once.
#[derive(Clone, Debug)]
pub struct Controls {
    registry: MemoryRegistry,
}

impl Controls {
    pub(crate) fn new(registry: MemoryRegistry) -> Self {
        Self { registry }
    }

    /// Cuts this client off: its operations fail with `Unavailable`, its watches break. The store lives on, and leases end.
    pub fn outage(&self) {
        self.registry.link().set(Condition::Down);
    }

    /// Cuts this client off without a word: its operations hang, its watches say nothing.
    pub fn black_hole(&self) {
        self.registry.link().set(Condition::Silent);
    }

    /// Connects this client again.
    pub fn heal(&self) {
        self.registry.link().set(Condition::Up);
    }

    /// Makes every operation of this client take `latency` on its way to the store. Watches are not delayed.
    pub fn set_latency(&self, latency: Duration) {
        self.registry.link().set_latency(latency);
    }

    /// Makes the store forget all history: watches that are detached, or behind, cannot resume.
    pub fn compact(&self) {
        self.registry.with_store(Store::compact);
    }

    /// Empties the store, leases and history included. Watches end with [`Wiped`](registry_core::ResetCause::Wiped).
    pub fn wipe(&self) {
        let epoch = self.registry.next_epoch();
        self.registry.with_store(|store| store.wipe(epoch, Instant::now()));
        self.registry.wake_all();
    }

    /// The present state of the store, for [`restore`](Self::restore).
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { store: self.registry.with_store(|store| store.clone()) }
    }

    /// Puts an older state back, as from a backup. Deadlines are those of then. Watches end with
    /// [`Diverged`](registry_core::ResetCause::Diverged).
    pub fn restore(&self, checkpoint: &Checkpoint) {
        let epoch = self.registry.next_epoch();
        let older = checkpoint.store.clone();
        self.registry.with_store(|store| store.restore(older, epoch, Instant::now()));
        self.registry.wake_all();
    }

    /// Ends the lease of an entry now, as if its TTL were over. `false` when there is no such entry.
    pub fn expire(&self, service: &ServiceName, id: &InstanceId) -> bool {
        self.remove(service, id, DeleteCause::Expired)
    }

    /// Deletes an entry as an operator would, behind its owner's back. `false` when there is no such entry.
    pub fn delete(&self, service: &ServiceName, id: &InstanceId) -> bool {
        self.remove(service, id, DeleteCause::Unknown)
    }

    /// Writes an entry as a foreign writer would, who knows nothing of leases and incarnations.
    pub fn overwrite(&self, instance: &Instance) {
        self.registry.with_store(|store| store.overwrite(instance, Instant::now()));
        self.registry.wake(instance.service());
    }

    /// Sets how many instances the store takes before new ones get `StoreFull`; those there stay.
    pub fn set_capacity(&self, capacity: usize) {
        self.registry.with_store(|store| store.capacity = capacity);
    }

    /// Begins a journal of everything that changes; it grows without bound.
    pub fn keep_journal(&self) {
        self.registry.with_store(|store| store.keep_journal(Instant::now()));
    }

    /// The journal since [`keep_journal`](Self::keep_journal), empty without it.
    #[must_use]
    pub fn journal(&self) -> Vec<JournalItem> {
        self.registry.with_store(|store| store.journal())
    }

    /// How many feeds are open, over all clients of the store.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.registry.watchers()
    }

    fn remove(&self, service: &ServiceName, id: &InstanceId, cause: DeleteCause) -> bool {
        let removed = self.registry.with_store(|store| store.remove(service, id, cause, Instant::now()));
        self.registry.wake(service);
        removed
    }
}

/// The state of a store at one moment.
#[derive(Clone)]
pub struct Checkpoint {
    store: Store,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").finish_non_exhaustive()
    }
}
