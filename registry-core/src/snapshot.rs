//! All instances of a service at one cursor.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;

use crate::cursor::{Cursor, Epoch, Revision};
use crate::event::{Batch, Change};
use crate::instance::Instance;
use crate::lease::Incarnation;
use crate::name::{InstanceId, ServiceName};

/// An instance as listed: what it publishes, and what the registry knows about the entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    instance: Instance,
    incarnation: Incarnation,
    created: Revision,
    modified: Revision,
}

impl Entry {
    /// For backends: `created` is the revision of the registration, `modified` that of the last change.
    #[must_use]
    pub fn new(instance: Instance, incarnation: Incarnation, created: Revision, modified: Revision) -> Self {
        Self { instance, incarnation, created, modified }
    }

    /// What the instance publishes about itself.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The id, unique within the service.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        self.instance.id()
    }

    /// Which process's claim this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The revision at which this incarnation was registered.
    #[must_use]
    pub fn created(&self) -> Revision {
        self.created
    }

    /// The revision of the last change.
    #[must_use]
    pub fn modified(&self) -> Revision {
        self.modified
    }
}

/// All instances of a service at one cursor. Cloning it is cheap, and so is applying a change: versions share
/// what they have in common.
#[derive(Clone, PartialEq)]
pub struct Snapshot {
    service: ServiceName,
    cursor: Cursor,
    entries: OrdMap<InstanceId, Arc<Entry>>,
    skipped: usize,
}

impl Snapshot {
    /// For backends: the `entries` of `service` at `cursor`.
    #[must_use]
    pub fn new(service: ServiceName, cursor: Cursor, entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.id().clone(), entry)).collect();
        Self { service, cursor, entries, skipped: 0 }
    }

    /// For backends that keep their entries in such a map: shares it.
    #[must_use]
    pub fn from_entries(
        service: ServiceName,
        cursor: Cursor,
        entries: OrdMap<InstanceId, Arc<Entry>>,
    ) -> Self {
        Self { service, cursor, entries, skipped: 0 }
    }

    /// For backends: the same, with the number of malformed entries that were left out.
    #[must_use]
    pub fn with_skipped(mut self, skipped: usize) -> Self {
        self.skipped = skipped;
        self
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Where a watch can go on from.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The last revision it includes.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.cursor.revision()
    }

    /// The stretch of history in which its revision can be compared.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.cursor.epoch()
    }

    /// The number of instances.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no instance.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries of other writers were left out because they could not be read, when this was loaded.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The entry of `id`.
    #[must_use]
    pub fn get(&self, id: &InstanceId) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    /// The entries, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// The instances, ordered by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.iter().map(|entry| entry.instance())
    }

    pub(crate) fn entries(&self) -> &OrdMap<InstanceId, Arc<Entry>> {
        &self.entries
    }

    /// Lists `entry` as well.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) {
        self.entries.insert(entry.id().clone(), entry);
    }

    /// Does not list `id` any more.
    pub(crate) fn remove(&mut self, id: &InstanceId) {
        self.entries.remove(id);
    }

    /// Applies the changes of one revision, in time that hardly grows with the number of instances. A batch that is not
    /// newer than the snapshot, or of another epoch, changes nothing and gives `false`.
    pub fn apply(&mut self, batch: &Batch) -> bool {
        if batch.cursor.epoch() != self.epoch() || batch.cursor.revision() <= self.revision() {
            return false;
        }
        for change in &batch.changes {
            match change {
                Change::Put(entry) => {
                    self.entries.insert(entry.id().clone(), Arc::clone(entry));
                }
                Change::Delete { id, .. } => {
                    self.entries.remove(id);
                }
            }
        }
        self.cursor = batch.cursor;
        true
    }

    /// Moves the cursor on without a change; a cursor that is not newer, or of another epoch, changes nothing and gives
    /// `false`.
    pub fn advance(&mut self, cursor: Cursor) -> bool {
        let newer = cursor.epoch() == self.epoch() && cursor.revision() >= self.revision();
        if newer {
            self.cursor = cursor;
        }
        newer
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("service", &self.service)
            .field("cursor", &self.cursor)
            .field("entries", &self.entries.values().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
