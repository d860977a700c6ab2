//! A registry in a directory: one JSON file per entry, `<root>/<service>/<id>`.
//!
//! For programs of one process, and for showing how a backend is written and tested. Anybody may edit the files: what changed is found
//! by comparing, at every call and by watches every [`POLL`]. Leases and history live in memory. It uses blocking file calls.

// Named, because a test includes this file from elsewhere.
#[path = "service.rs"]
mod service;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::unfold;
use registry_core::codec::Stored;
use registry_core::resume::{PROGRESS_INTERVAL, ResumeOptions};
use registry_core::{
    Cursor, Epoch, Error, ErrorKind, Feed, FeedItem, GapDetection, Guarantees, Incarnation, Instance,
    InstanceId, Lease, Operation, OwnerToken, RegisterOptions, Registration, Registry, ResetCause, Result,
    Revision, ServiceName, Snapshot, Ttl, Watch, WatchSource, resume,
};
use tokio::time::{Instant, sleep};

use service::{Service, file_name};

/// How often a watch looks for changes.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How many changes of each service are kept for watches to catch up.
pub(crate) const HISTORY: usize = 1024;
/// How long an entry stays that someone else wrote.
const FOREIGN_TTL: Duration = Duration::from_secs(3600);

/// A client of the registry; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct FileRegistry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    epoch: Epoch,
    services: Mutex<BTreeMap<ServiceName, Service>>,
}

impl FileRegistry {
    /// A registry in the directory `root`, which is made when it is not there.
    pub(crate) fn open(root: impl Into<PathBuf>) -> Self {
        let epoch = Epoch::new(OwnerToken::random().as_u128() as u64);
        let inner = Inner { root: root.into(), epoch, services: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Where the entry of `id` is kept. No name is `.` or `..`, holds a slash or begins with `~`.
    pub(crate) fn path(&self, service: &ServiceName, id: &InstanceId) -> PathBuf {
        self.inner.root.join(service.as_str()).join(file_name(id))
    }

    /// Forgets all history.
    pub(crate) fn compact(&self) {
        for service in self.inner.services.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            service.trim(0);
        }
    }

    /// Runs `act` on what the directory holds now.
    fn with<T>(
        &self,
        operation: Operation,
        name: &ServiceName,
        act: impl FnOnce(&mut Service, &Path) -> Result<T>,
    ) -> Result<T> {
        let mut services = self.inner.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.entry(name.clone()).or_default();
        let folder = self.inner.root.join(name.as_str());
        let scanned = service.scan(name, &folder, self.inner.epoch).map_err(|error| {
            Error::new(ErrorKind::Unavailable, operation, "the directory cannot be used").with_source(error)
        });
        scanned
            .and_then(|()| act(service, &folder))
            .map_err(|error| error.with_operation(operation).with_backend("file"))
    }

    /// Writes `stored`, and gives the revision at which it shows.
    fn write(
        &self,
        service: &mut Service,
        folder: &Path,
        stored: &Stored,
        ttl: Option<Ttl>,
    ) -> Result<Revision> {
        let (name, file) = (stored.instance.service(), file_name(stored.instance.id()));
        let bytes = stored.encode();
        let temporary = folder.join("~");
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&temporary, &bytes))
            .and_then(|()| fs::rename(&temporary, folder.join(&file)));
        written.map_err(|error| {
            Error::new(ErrorKind::Unavailable, Operation::Register, "cannot write").with_source(error)
        })?;
        let change = service.absorb(name, &file, Some(bytes));
        service.append(change.into_iter().collect(), self.inner.epoch);
        let Some(file) = service.files.get_mut(&file) else { return Ok(Revision::ZERO) };
        if let Some(ttl) = ttl {
            (file.ttl, file.deadline) = (ttl.get(), ttl.deadline(Instant::now()));
        }
        Ok(file.entry.as_ref().map_or(Revision::ZERO, |(_, entry)| entry.modified()))
    }

    fn lost(lease: &Lease) -> Error {
        let message = format!("{} {}: the lease is not held", lease.service(), lease.id());
        Error::new(ErrorKind::LeaseLost, Operation::Keepalive, message)
    }
}

#[async_trait]
impl Registry for FileRegistry {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.with(Operation::Register, instance.service(), |service, folder| {
            let incarnation = match service.entry(instance.id()) {
                Some((old, _)) if old.token == options.token => old.incarnation,
                Some((old, _)) if options.on_conflict.may_replace(options.claim, old.incarnation) => {
                    options.claim.succeeding(Some(old.incarnation))
                }
                Some((old, _)) => {
                    let message = format!("{} is held by incarnation {}", instance.id(), old.incarnation);
                    return Err(Error::new(ErrorKind::AlreadyRegistered, Operation::Register, message));
                }
                None => options.claim.succeeding(None),
            };
            let stored = Stored::new(instance.clone(), incarnation, options.token);
            let revision = self.write(service, folder, &stored, Some(options.ttl))?;
            let key = options.token.as_u128();
            let lease = Lease::new(instance.service().clone(), instance.id().clone(), incarnation, key);
            Ok(Registration::new(lease, revision, options.ttl))
        })
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.with(Operation::Keepalive, lease.service(), |service, _| {
            let file = service.owned(lease).ok_or_else(|| Self::lost(lease))?;
            file.deadline = Instant::now() + file.ttl;
            Ok(())
        })
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.with(Operation::Update, lease.service(), |service, folder| {
            lease.check(instance)?;
            service.owned(lease).ok_or_else(|| Self::lost(lease))?;
            let token = OwnerToken::from_u128(lease.key());
            let incarnation: Incarnation = lease.incarnation();
            self.write(service, folder, &Stored::new(instance.clone(), incarnation, token), None)
        })
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.with(Operation::Deregister, lease.service(), |service, folder| {
            if service.owned(lease).is_some() {
                let _ = fs::remove_file(folder.join(file_name(lease.id())));
                let change = service.absorb(lease.service(), &file_name(lease.id()), None);
                service.append(change.into_iter().collect(), self.inner.epoch);
            }
            Ok(())
        })
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.with(Operation::Lookup, service, |found, _| Ok(found.snapshot(service, self.inner.epoch)))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let folders = fs::read_dir(&self.inner.root).into_iter().flatten().flatten();
        let names = folders.filter_map(|folder| ServiceName::new(folder.file_name().to_string_lossy()).ok());
        let mut names: Vec<_> = names.filter(|name| name.as_str().starts_with(prefix)).collect();
        names.sort();
        let mut found = Vec::new();
        for name in names {
            if !self
                .lookup(&name)
                .await
                .map_err(|error| error.with_operation(Operation::Services))?
                .is_empty()
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        resume::watch(Arc::new(self.clone()), service.clone(), from, ResumeOptions::default())
    }

    /// Weak, and true: the leases do not survive the process, and a watch looks only now and then.
    fn guarantees(&self) -> Guarantees {
        Guarantees::weakest()
            .with_linearizable_reads(true)
            .with_min_ttl(Ttl::MIN)
            .with_expiry_bound(POLL)
            .with_convergence(Duration::from_secs(2))
            .with_gap_detection(GapDetection::Always)
    }
}

#[async_trait]
impl WatchSource for FileRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        let feed = (self.clone(), service.clone(), from, None::<Instant>, from.is_some());
        Ok(Box::pin(unfold(feed, |(registry, service, mut at, mut proven, resumed)| async move {
            let item = loop {
                match registry.next(&service, at, resumed && proven.is_none()) {
                    Ok(FeedItem::Progress(_))
                        if proven.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) =>
                    {
                        sleep(POLL).await;
                    }
                    Ok(FeedItem::Progress(cursor)) => {
                        (at, proven) = (Some(cursor), Some(Instant::now()));
                        break Ok(FeedItem::Progress(cursor));
                    }
                    Ok(FeedItem::Snapshot(snapshot)) => {
                        at = Some(snapshot.cursor());
                        break Ok(FeedItem::Snapshot(snapshot));
                    }
                    Ok(FeedItem::Changes(batch)) => {
                        at = Some(batch.cursor);
                        break Ok(FeedItem::Changes(batch));
                    }
                    other => break other,
                }
            };
            Some((item, (registry, service, at, proven, resumed)))
        })))
    }
}

impl FileRegistry {
    /// What comes after `at`.
    fn next(&self, name: &ServiceName, at: Option<Cursor>, resuming: bool) -> Result<FeedItem> {
        self.with(Operation::Watch, name, |service, _| {
            let Some(at) = at else {
                return Ok(FeedItem::Snapshot(service.snapshot(name, self.inner.epoch)));
            };
            if at.epoch() != self.inner.epoch {
                return Err(Error::cursor_lost(ResetCause::Wiped, "the cursor is of another run"));
            }
            if at.revision().get() > service.revision {
                return Err(Error::cursor_lost(
                    ResetCause::Diverged,
                    "the cursor is of a revision that never was",
                ));
            }
            if at.revision().get() < service.floor {
                let cause = if resuming { ResetCause::Compacted } else { ResetCause::Overflow };
                return Err(Error::cursor_lost(cause, "the history after the cursor is gone"));
            }
            let later = service.log.iter().find(|batch| batch.cursor.revision() > at.revision());
            let now = Cursor::new(self.inner.epoch, Revision::new(service.revision), 0);
            Ok(later.map_or(FeedItem::Progress(now), |batch| FeedItem::Changes(batch.clone())))
        })
    }
}
