//! What the watch of a guarded view tells, written down, and then, with a planted defect, told otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Entry, Guarantees, Instance, InstanceId, Lease, RegisterOptions,
    Registration, Registry, Result, Revision, ServiceName, Snapshot, Status, Watch, WatchEvent,
};
use tokio::time::Instant;

use super::history::{History, Record};
use super::mutant::Mutant;
use super::process::lock;

/// Entries that a guard was shown otherwise than they are.
type Disguised = Arc<Mutex<BTreeMap<(InstanceId, Revision), Arc<Entry>>>>;

/// A registry as one guarded view has it.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) inner: Arc<dyn Registry>,
    pub(super) view: usize,
    pub(super) history: History,
    pub(super) mutant: Option<Mutant>,
    pub(super) disguised: Disguised,
}

impl Tap {
    fn told(&self, event: WatchEvent) -> WatchEvent {
        self.history.push(Record::Told { view: self.view, at: Instant::now(), event: event.clone() });
        match (self.mutant, event) {
            (Some(Mutant::HoldsWhoLeft), WatchEvent::Changes(Batch { cursor, changes })) => {
                let lost = |change| match change {
                    Change::Delete { id, .. } => Change::Delete { id, cause: DeleteCause::Expired },
                    change => change,
                };
                WatchEvent::Changes(Batch { cursor, changes: changes.into_iter().map(lost).collect() })
            }
            (Some(Mutant::HoldsWhoDrained), WatchEvent::Changes(Batch { cursor, changes })) => {
                let disguise = |change| match change {
                    Change::Put(entry) => Change::Put(self.disguise(&entry)),
                    change => change,
                };
                WatchEvent::Changes(Batch { cursor, changes: changes.into_iter().map(disguise).collect() })
            }
            (Some(Mutant::HoldsWhoDrained), WatchEvent::Reset { snapshot, cause }) => {
                let entries = snapshot.iter().map(|entry| self.disguise(entry));
                let service = snapshot.service().clone();
                WatchEvent::Reset { snapshot: Snapshot::new(service, snapshot.cursor(), entries), cause }
            }
            (_, event) => event,
        }
    }

    /// One who drains, as if it did not.
    fn disguise(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        if entry.instance().status() != Status::Draining {
            return Arc::clone(entry);
        }
        lock(&self.disguised).insert((entry.id().clone(), entry.modified()), Arc::clone(entry));
        let up = entry.instance().clone().with_status(Status::Up);
        Arc::new(Entry::new(up, entry.incarnation(), entry.created(), entry.modified()))
    }
}

/// A list with all entries as they are.
pub(super) fn undisguised(listed: &Snapshot, disguised: &Disguised) -> Snapshot {
    let disguised = lock(disguised);
    if disguised.is_empty() {
        return listed.clone();
    }
    let real = |entry: &Arc<Entry>| {
        Arc::clone(disguised.get(&(entry.id().clone(), entry.modified())).unwrap_or(entry))
    };
    Snapshot::new(listed.service().clone(), listed.cursor(), listed.iter().map(real))
}

#[async_trait]
impl Registry for Tap {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.inner.register(instance, options).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.inner.keepalive(lease).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.inner.update(lease, instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.inner.deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.inner.lookup(service).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        let tap = self.clone();
        Watch::new(self.inner.watch(service, from).map(move |event| tap.told(event)))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
