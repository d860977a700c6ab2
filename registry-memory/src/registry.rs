//! The trait over the state machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    AfterDisruption, Cursor, DeleteCauses, Durability, Epoch, GapDetection, Guarantees, Instance, Lease,
    Operation, OwnerToken, RegisterOptions, Registration, Registry, Result, Revision, RevisionScope,
    ServiceName, Snapshot, Ttl, Watch, resume,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::controls::Controls;
use crate::link::Link;
use crate::options::MemoryOptions;
use crate::store::Store;

/// A registry in the memory of this process. Cheap to clone; clones are the same client of the same store.
#[derive(Clone)]
pub struct MemoryRegistry {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

struct Shared {
    store: Mutex<Store>,
    signals: Mutex<BTreeMap<ServiceName, Arc<Signal>>>,
    options: MemoryOptions,
    epochs: AtomicU64,
}

/// Wakes the feeds of one service.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pub(crate) changed: Notify,
    /// How many there are; changed only under the lock of the map.
    feeds: AtomicUsize,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRegistry {
    /// A client of a new, empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// A client of a new, empty store that behaves as `options` say.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        let first = options.seed.unwrap_or_else(|| OwnerToken::random().as_u128() as u64);
        let store =
            Store::new(Epoch::new(first), options.history.max(1), options.capacity, options.expiry_lag);
        let shared = Shared {
            store: Mutex::new(store),
            signals: Mutex::default(),
            options,
            epochs: AtomicU64::new(first),
        };
        Self { shared: Arc::new(shared), link: Arc::new(Link::new()) }
    }

    /// Another client of the same store, with a connection of its own that can be cut by itself.
    #[must_use]
    pub fn client(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), link: Arc::new(Link::new()) }
    }

    /// What tests can do to the store, and to this client's connection.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls::new(self.clone())
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn with_store<T>(&self, use_it: impl FnOnce(&mut Store) -> T) -> T {
        use_it(&mut self.shared.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn next_epoch(&self) -> Epoch {
        Epoch::new(self.shared.epochs.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// A feed of `service` begins: what wakes it.
    pub(crate) fn subscribe(&self, service: &ServiceName) -> Arc<Signal> {
        self.with_store(|store| store.pin(service));
        self.with_signals(|signals| {
            let signal = signals.entry(service.clone()).or_default();
            signal.feeds.fetch_add(1, Ordering::Relaxed);
            Arc::clone(signal)
        })
    }

    /// A feed of `service` has ended.
    pub(crate) fn unsubscribe(&self, service: &ServiceName) {
        self.with_store(|store| store.unpin(service));
        self.with_signals(|signals| {
            let last = |signal: &Arc<Signal>| signal.feeds.fetch_sub(1, Ordering::Relaxed) == 1;
            if signals.get(service).is_some_and(last) {
                signals.remove(service);
            }
        });
    }

    pub(crate) fn watchers(&self) -> usize {
        self.with_signals(|signals| signals.values().map(|signal| signal.feeds.load(Ordering::Relaxed)).sum())
    }

    pub(crate) fn wake(&self, service: &ServiceName) {
        self.with_signals(|signals| {
            if let Some(signal) = signals.get(service) {
                signal.changed.notify_waiters();
            }
        });
    }

    pub(crate) fn wake_all(&self) {
        self.with_signals(|signals| signals.values().for_each(|signal| signal.changed.notify_waiters()));
    }

    fn with_signals<T>(&self, use_them: impl FnOnce(&mut BTreeMap<ServiceName, Arc<Signal>>) -> T) -> T {
        use_them(&mut self.shared.signals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One operation on the store, when the link passes it; wakes the feeds of `service`.
    async fn call<T>(
        &self,
        operation: Operation,
        service: &ServiceName,
        act: impl FnOnce(&mut Store, Instant) -> T,
    ) -> Result<T> {
        self.link.pass(operation).await?;
        let result = self.with_store(|store| act(store, Instant::now()));
        self.wake(service);
        Ok(result)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let service = instance.service();
        self.call(Operation::Register, service, |store, now| store.register(instance, options, now)).await?
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.link.pass(Operation::Keepalive).await?;
        self.with_store(|store| store.keepalive(lease, Instant::now()))
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let service = lease.service();
        self.call(Operation::Update, service, |store, now| store.update(lease, instance, now)).await?
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        let service = lease.service();
        self.call(Operation::Deregister, service, |store, now| store.deregister(lease, now)).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.link.pass(Operation::Lookup).await?;
        Ok(self.with_store(|store| store.lookup(service, Instant::now())))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.link.pass(Operation::Services).await?;
        Ok(self.with_store(|store| store.services(prefix, Instant::now())))
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        resume::watch(Arc::new(self.clone()), service.clone(), from, self.shared.options.resume.clone())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees::weakest()
            .with_revision_scope(RevisionScope::Store)
            .with_linearizable_reads(true)
            .with_expiry_bound(self.shared.options.expiry_lag)
            .with_after_disruption(AfterDisruption::Exact)
            .with_min_ttl(Ttl::MIN)
            .with_durability(Durability::None)
            .with_convergence(self.shared.options.resume.backoff.cap.saturating_add(Duration::from_millis(1)))
            .with_gap_detection(GapDetection::Always)
            .with_delete_causes(DeleteCauses::All)
    }
}

impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegistry").field("link", &self.link.condition()).finish_non_exhaustive()
    }
}
