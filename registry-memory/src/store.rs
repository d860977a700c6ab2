//! The whole store as a synchronous state machine: every operation is a function of the state, the arguments and the time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use registry_core::{
    Batch, Cursor, DeleteCause, Epoch, Error, ErrorKind, Incarnation, Instance, InstanceId, Lease, Operation,
    OwnerToken, RegisterOptions, Registration, ResetCause, Result, Revision, ServiceName, Snapshot, Ttl,
};
use tokio::time::Instant;

use crate::BACKEND;
use crate::journal::JournalItem;
use crate::service::{Clock, LeaseKey, Owner, Service};

/// How often services are swept that nobody asks about.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many services without instances keep their log.
const EMPTY_SERVICES: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Store {
    epoch: Epoch,
    /// Why this epoch began.
    began: ResetCause,
    revision: Revision,
    next_key: LeaseKey,
    services: BTreeMap<ServiceName, Service>,
    /// Services that became empty, oldest first; some may have instances again.
    emptied: VecDeque<ServiceName>,
    /// The last revision of any service that was forgotten.
    floor: Revision,
    instances: usize,
    /// Services that feeds are open on; they keep their log.
    pins: BTreeMap<ServiceName, usize>,
    /// When all services were swept last.
    swept: Option<Instant>,
    history: usize,
    journal: Option<Vec<JournalItem>>,
    pub(crate) capacity: usize,
    lag: Duration,
}

/// What a feed finds when it asks for more.
pub(crate) enum Found {
    Batch(Batch),
    /// Nothing after this cursor; the next lease ends then, if any.
    Nothing(Cursor, Option<Instant>),
}

impl Store {
    pub(crate) fn new(epoch: Epoch, history: usize, capacity: usize, lag: Duration) -> Self {
        Self {
            epoch,
            began: ResetCause::Wiped,
            revision: Revision::ZERO,
            next_key: 1,
            services: BTreeMap::new(),
            emptied: VecDeque::new(),
            floor: Revision::ZERO,
            instances: 0,
            pins: BTreeMap::new(),
            swept: None,
            history,
            journal: None,
            capacity,
            lag,
        }
    }

    /// Begins to keep a journal.
    pub(crate) fn keep_journal(&mut self, now: Instant) {
        self.journal = Some(Vec::new());
        self.record_beginning(now);
    }

    /// What the journal has.
    pub(crate) fn journal(&self) -> Vec<JournalItem> {
        self.journal.clone().unwrap_or_default()
    }

    fn record_beginning(&mut self, at: Instant) {
        let entries =
            self.services.values().flat_map(|service| service.entries().values().cloned()).collect();
        let epoch = self.epoch;
        if let Some(journal) = &mut self.journal {
            journal.push(JournalItem::Began { at, epoch, entries });
        }
    }

    pub(crate) fn register(
        &mut self,
        instance: &Instance,
        options: &RegisterOptions,
        now: Instant,
    ) -> Result<Registration> {
        let (name, id) = (instance.service(), instance.id());
        self.sweep(name, now);
        self.sweep_all_at_times(now);
        let full = self.instances >= self.capacity;
        let key = self.next_key;
        let deadline = self.deadline(options.ttl, now);
        let existing = self
            .services
            .get(name)
            .and_then(|service| Some((service.entries().get(id)?.clone(), service.owner(id)?.clone())));
        let (incarnation, key) = match &existing {
            None if full => {
                let message = format!("the store holds {} instances, which is its capacity", self.instances);
                return Err(failure(ErrorKind::StoreFull, Operation::Register, message));
            }
            None => (options.claim.succeeding(None), key),
            Some((entry, owner)) if owner.token == options.token => (entry.incarnation(), owner.key),
            Some((entry, _)) if options.on_conflict.may_replace(options.claim, entry.incarnation()) => {
                (options.claim.succeeding(Some(entry.incarnation())), key)
            }
            Some((entry, _)) => {
                let message = format!("{name} {id} is held by incarnation {}", entry.incarnation());
                return Err(failure(ErrorKind::AlreadyRegistered, Operation::Register, message));
            }
        };
        let (service, mut clock) = self.service_mut(name, now);
        let revision = match &existing {
            Some((entry, owner)) if owner.key == key && entry.instance() == instance => {
                let owner = Owner::new(key, options.token, options.ttl, deadline);
                service.renew_as(id, owner);
                entry.modified()
            }
            _ => {
                let owner = Owner::new(key, options.token, options.ttl, deadline);
                service.put(instance.clone(), owner, incarnation, &mut clock)
            }
        };
        self.next_key += 1;
        self.instances += usize::from(existing.is_none());
        let lease = Lease::new(name.clone(), id.clone(), incarnation, key);
        Ok(Registration::new(lease, revision, options.ttl))
    }

    pub(crate) fn keepalive(&mut self, lease: &Lease, now: Instant) -> Result<()> {
        let ttl = self.owner(lease, Operation::Keepalive, now)?.ttl;
        let deadline = self.deadline(ttl, now);
        if let Some(service) = self.services.get_mut(lease.service()) {
            service.renew(lease.id(), deadline);
        }
        Ok(())
    }

    pub(crate) fn update(&mut self, lease: &Lease, instance: &Instance, now: Instant) -> Result<Revision> {
        lease.check(instance).map_err(|error| error.with_backend(BACKEND))?;
        let owner = self.owner(lease, Operation::Update, now)?;
        let (service, mut clock) = self.service_mut(lease.service(), now);
        Ok(service.put(instance.clone(), owner, lease.incarnation(), &mut clock))
    }

    pub(crate) fn deregister(&mut self, lease: &Lease, now: Instant) {
        if self.owner(lease, Operation::Deregister, now).is_ok() {
            self.remove(lease.service(), lease.id(), DeleteCause::Deregistered, now);
        }
    }

    pub(crate) fn lookup(&mut self, name: &ServiceName, now: Instant) -> Snapshot {
        self.sweep(name, now);
        let entries = self.services.get(name).map(|service| service.entries().clone()).unwrap_or_default();
        Snapshot::from_entries(name.clone(), self.cursor(), entries)
    }

    pub(crate) fn services(&mut self, prefix: &str, now: Instant) -> Vec<ServiceName> {
        let names: Vec<_> =
            self.services.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
        names
            .into_iter()
            .filter(|name| {
                self.sweep(name, now);
                self.services.get(name).is_some_and(|service| !service.entries().is_empty())
            })
            .collect()
    }

    /// Whether a watch can go on from `cursor`.
    pub(crate) fn check_resume(&self, name: &ServiceName, cursor: Cursor) -> Result<()> {
        if cursor.epoch() != self.epoch {
            return Err(lost(self.began, "the cursor is of another epoch"));
        }
        if cursor.revision() > self.revision {
            return Err(lost(ResetCause::Diverged, "the cursor is of a revision that never was"));
        }
        if !self.remembers(name, cursor.revision()) {
            return Err(lost(ResetCause::Compacted, "the history after the cursor is gone"));
        }
        Ok(())
    }

    /// What comes after `cursor`, for a feed that has delivered everything before.
    pub(crate) fn next(&mut self, name: &ServiceName, cursor: Cursor, now: Instant) -> Result<Found> {
        if cursor.epoch() != self.epoch {
            return Err(lost(self.began, "the store began another epoch"));
        }
        self.sweep(name, now);
        if !self.remembers(name, cursor.revision()) {
            return Err(lost(ResetCause::Overflow, "more changed than the store remembers"));
        }
        let service = self.services.get(name);
        Ok(match service.and_then(|service| service.first_after(cursor.revision())) {
            Some(batch) => Found::Batch(batch.clone()),
            None => Found::Nothing(self.cursor(), service.and_then(Service::next_deadline)),
        })
    }

    /// Removes an entry behind its owner's back.
    pub(crate) fn remove(
        &mut self,
        name: &ServiceName,
        id: &InstanceId,
        cause: DeleteCause,
        now: Instant,
    ) -> bool {
        let there = self.services.get(name).is_some_and(|service| service.entries().contains_key(id));
        if there {
            let (service, mut clock) = self.service_mut(name, now);
            service.remove(vec![id.clone()], cause, &mut clock);
            self.instances -= 1;
            self.forget_if_empty(name);
        }
        there
    }

    /// Puts an entry as a foreign writer would, who knows nothing of leases and incarnations.
    pub(crate) fn overwrite(&mut self, instance: &Instance, now: Instant) {
        let key = self.next_key;
        self.next_key += 1;
        let owner = Owner::new(key, OwnerToken::random(), Ttl::MAX, Ttl::MAX.deadline(now));
        let (service, mut clock) = self.service_mut(instance.service(), now);
        let fresh = !service.entries().contains_key(instance.id());
        service.put(instance.clone(), owner, Incarnation::default(), &mut clock);
        self.instances += usize::from(fresh);
    }

    /// Forgets all history.
    pub(crate) fn compact(&mut self) {
        for service in self.services.values_mut() {
            service.trim(0);
        }
    }

    /// Forgets everything, and begins another epoch.
    pub(crate) fn wipe(&mut self, epoch: Epoch, now: Instant) {
        let empty = Self::new(epoch, self.history, self.capacity, self.lag);
        let pins = std::mem::take(&mut self.pins);
        *self = Self { next_key: self.next_key, journal: self.journal.take(), pins, ..empty };
        self.record_beginning(now);
    }

    /// Goes back to an older state, and begins another epoch. Leases are not carried over: an owner would take the old value that
    /// its lease now holds for the one it published last. It registers again, and by its token gets its entry back.
    pub(crate) fn restore(&mut self, older: Self, epoch: Epoch, now: Instant) {
        let (next_key, journal) = (self.next_key, self.journal.take());
        let (pins, capacity) = (std::mem::take(&mut self.pins), self.capacity);
        *self = Self { epoch, began: ResetCause::Diverged, next_key, journal, pins, capacity, ..older };
        for service in self.services.values_mut() {
            service.revoke(&mut self.next_key);
        }
        self.record_beginning(now);
    }

    /// A feed on `name` is opened: from now on its log is kept.
    pub(crate) fn pin(&mut self, name: &ServiceName) {
        *self.pins.entry(name.clone()).or_default() += 1;
        let floor = self.floor;
        self.services.entry(name.clone()).or_insert_with(|| Service::new(floor));
    }

    /// A feed on `name` has ended.
    pub(crate) fn unpin(&mut self, name: &ServiceName) {
        if let Some(pins) = self.pins.get_mut(name) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(name);
                self.forget_if_empty(name);
            }
        }
    }

    fn deadline(&self, ttl: Ttl, now: Instant) -> Instant {
        ttl.deadline(now).checked_add(self.lag).unwrap_or_else(|| Ttl::MAX.deadline(now))
    }

    /// Ends the leases of services that nobody asks about: now and then, and always before the store is called full.
    fn sweep_all_at_times(&mut self, now: Instant) {
        let due = self.swept.is_none_or(|swept| now >= swept + SWEEP_EVERY);
        if due || self.instances >= self.capacity {
            self.swept = Some(now);
            let overdue = |service: &Service| service.next_deadline().is_some_and(|due| due <= now);
            let names: Vec<_> = self
                .services
                .iter()
                .filter(|(_, service)| overdue(service))
                .map(|(name, _)| name.clone())
                .collect();
            for name in names {
                self.sweep(&name, now);
            }
        }
    }

    fn cursor(&self) -> Cursor {
        Cursor::new(self.epoch, self.revision, 0)
    }

    fn remembers(&self, name: &ServiceName, revision: Revision) -> bool {
        match self.services.get(name) {
            Some(service) => service.remembers(revision),
            None => revision >= self.floor,
        }
    }

    fn sweep(&mut self, name: &ServiceName, now: Instant) {
        let due = |service: &Service| service.next_deadline().is_some_and(|due| due <= now);
        if self.services.get(name).is_some_and(due) {
            let (service, mut clock) = self.service_mut(name, now);
            let swept = service.sweep(now, &mut clock);
            self.instances -= swept;
            self.forget_if_empty(name);
        }
    }

    /// The owner that `lease` makes of its entry, unless it is lost.
    fn owner(&mut self, lease: &Lease, operation: Operation, now: Instant) -> Result<Owner> {
        self.sweep(lease.service(), now);
        let service = self.services.get(lease.service());
        service
            .filter(|service| service.owned(lease.id(), lease.key()).is_some())
            .and_then(|service| service.owner(lease.id()).cloned())
            .ok_or_else(|| {
                let message = format!("{} {}: the lease is not held", lease.service(), lease.id());
                failure(ErrorKind::LeaseLost, operation, message)
            })
    }

    fn service_mut<'a>(&'a mut self, name: &'a ServiceName, now: Instant) -> (&'a mut Service, Clock<'a>) {
        let floor = self.floor;
        let clock = Clock {
            epoch: self.epoch,
            revision: &mut self.revision,
            history: self.history,
            journal: &mut self.journal,
            service: name,
            now,
        };
        (self.services.entry(name.clone()).or_insert_with(|| Service::new(floor)), clock)
    }

    /// A service without instances keeps its log until many more became empty, so that watches resume over short absences and a
    /// store with ever new names does not grow.
    fn forget_if_empty(&mut self, name: &ServiceName) {
        if !self.services.get(name).is_some_and(|service| service.entries().is_empty()) {
            return;
        }
        self.emptied.push_back(name.clone());
        while self.emptied.len() > EMPTY_SERVICES {
            let Some(oldest) = self.emptied.pop_front() else { return };
            let still_empty = |service: &Service| service.entries().is_empty();
            if !self.emptied.contains(&oldest)
                && !self.pins.contains_key(&oldest)
                && self.services.get(&oldest).is_some_and(still_empty)
                && let Some(service) = self.services.remove(&oldest)
            {
                self.floor = self.floor.max(service.last());
            }
        }
    }
}

fn failure(kind: ErrorKind, operation: Operation, message: String) -> Error {
    Error::new(kind, operation, message).with_backend(BACKEND)
}

fn lost(cause: ResetCause, message: &'static str) -> Error {
    Error::cursor_lost(cause, message).with_backend(BACKEND)
}
