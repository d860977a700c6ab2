//! One service in the store: entries, who owns them until when, and the log of changes. Synchronous; time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Entry, Epoch, Incarnation, Instance, InstanceId, OwnerToken,
    Revision, ServiceName, Ttl,
};
use tokio::time::Instant;

use crate::journal::JournalItem;

/// The name of a lease, never used twice.
pub(crate) type LeaseKey = u128;

/// Who holds an entry.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) key: LeaseKey,
    pub(crate) token: OwnerToken,
    pub(crate) ttl: Ttl,
    deadline: Instant,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    entries: OrdMap<InstanceId, Arc<Entry>>,
    owners: BTreeMap<InstanceId, Owner>,
    deadlines: BTreeSet<(Instant, InstanceId)>,
    log: VecDeque<Batch>,
    /// The last revision that the log has dropped.
    floor: Revision,
}

/// Gives the next revision, as a cursor, and keeps the store's journal.
pub(crate) struct Clock<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) revision: &'a mut Revision,
    pub(crate) history: usize,
    pub(crate) journal: &'a mut Option<Vec<JournalItem>>,
    pub(crate) service: &'a ServiceName,
    pub(crate) now: Instant,
}

impl Clock<'_> {
    fn tick(&mut self) -> Cursor {
        *self.revision = Revision::new(self.revision.get() + 1);
        Cursor::new(self.epoch, *self.revision, 0)
    }

    fn record(&mut self, batch: &Batch) {
        if let Some(journal) = self.journal {
            journal.push(JournalItem::Changed {
                at: self.now,
                service: self.service.clone(),
                batch: batch.clone(),
            });
        }
    }
}

impl Service {
    /// A service whose changes up to `floor` are not in the log.
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            entries: OrdMap::new(),
            owners: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            log: VecDeque::new(),
            floor,
        }
    }

    pub(crate) fn entries(&self) -> &OrdMap<InstanceId, Arc<Entry>> {
        &self.entries
    }

    pub(crate) fn owner(&self, id: &InstanceId) -> Option<&Owner> {
        self.owners.get(id)
    }

    /// The entry that the lease `key` holds.
    pub(crate) fn owned(&self, id: &InstanceId, key: LeaseKey) -> Option<&Arc<Entry>> {
        self.owners.get(id).filter(|owner| owner.key == key).and_then(|_| self.entries.get(id))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes what is due: all that fell due at one moment in one revision.
    pub(crate) fn sweep(&mut self, now: Instant, clock: &mut Clock<'_>) -> usize {
        let mut swept = 0;
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            let mut ids = Vec::new();
            while self.next_deadline() == Some(due) {
                ids.extend(self.deadlines.pop_first().map(|(_, id)| id));
            }
            swept += ids.len();
            self.remove(ids, DeleteCause::Expired, clock);
        }
        swept
    }

    pub(crate) fn put(
        &mut self,
        instance: Instance,
        owner: Owner,
        incarnation: Incarnation,
        clock: &mut Clock<'_>,
    ) -> Revision {
        let id = instance.id().clone();
        let cursor = clock.tick();
        let created = match (self.owners.get(&id), self.entries.get(&id)) {
            (Some(before), Some(entry)) if before.key == owner.key => entry.created(),
            _ => cursor.revision(),
        };
        let entry = Arc::new(Entry::new(instance, incarnation, created, cursor.revision()));
        self.entries.insert(id.clone(), Arc::clone(&entry));
        self.own(id, owner);
        self.append(Batch { cursor, changes: vec![Change::Put(entry)] }, clock);
        cursor.revision()
    }

    /// Gives the entry `id` a deadline a TTL from now.
    pub(crate) fn renew(&mut self, id: &InstanceId, deadline: Instant) {
        if let Some(owner) = self.owners.get(id) {
            self.own(id.clone(), Owner { deadline, ..owner.clone() });
        }
    }

    /// Keeps the entry `id` as it is, under `owner`.
    pub(crate) fn renew_as(&mut self, id: &InstanceId, owner: Owner) {
        self.own(id.clone(), owner);
    }

    fn own(&mut self, id: InstanceId, owner: Owner) {
        self.deadlines.insert((owner.deadline, id.clone()));
        let deadline = owner.deadline;
        if let Some(before) =
            self.owners.insert(id.clone(), owner).filter(|before| before.deadline != deadline)
        {
            self.deadlines.remove(&(before.deadline, id));
        }
    }

    /// Gives every entry a lease that nobody has, until its owner registers again.
    pub(crate) fn revoke(&mut self, next_key: &mut LeaseKey) {
        for owner in self.owners.values_mut() {
            owner.key = *next_key;
            *next_key += 1;
        }
    }

    /// Removes the entries `ids`, in one revision.
    pub(crate) fn remove(&mut self, ids: Vec<InstanceId>, cause: DeleteCause, clock: &mut Clock<'_>) {
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(owner) = self.owners.remove(&id) {
                self.deadlines.remove(&(owner.deadline, id.clone()));
            }
            if self.entries.remove(&id).is_some() {
                changes.push(Change::Delete { id, cause });
            }
        }
        if !changes.is_empty() {
            let cursor = clock.tick();
            self.append(Batch { cursor, changes }, clock);
        }
    }

    fn append(&mut self, batch: Batch, clock: &mut Clock<'_>) {
        clock.record(&batch);
        self.log.push_back(batch);
        self.trim(clock.history);
    }

    /// Drops the oldest changes until `keep` are left.
    pub(crate) fn trim(&mut self, keep: usize) {
        while self.log.len() > keep {
            if let Some(dropped) = self.log.pop_front() {
                self.floor = dropped.cursor.revision();
            }
        }
    }

    /// Whether the log has everything after `revision`.
    pub(crate) fn remembers(&self, revision: Revision) -> bool {
        revision >= self.floor
    }

    /// The first change after `revision`.
    pub(crate) fn first_after(&self, revision: Revision) -> Option<&Batch> {
        let at = self.log.partition_point(|batch| batch.cursor.revision() <= revision);
        self.log.get(at)
    }

    /// The revision of the last change.
    pub(crate) fn last(&self) -> Revision {
        self.log.back().map_or(self.floor, |batch| batch.cursor.revision())
    }
}

impl Owner {
    pub(crate) fn new(key: LeaseKey, token: OwnerToken, ttl: Ttl, deadline: Instant) -> Self {
        Self { key, token, ttl, deadline }
    }
}
