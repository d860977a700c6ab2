//! Views on disk, for processes that start while the registry cannot be reached.

mod format;
mod keeper;
mod options;
mod own;
mod shelf;
mod turns;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use futures_util::FutureExt;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use self::format::{Decoded, Rejected, Wanted, check, decode, encode};
use self::keeper::Keeper;
pub use self::options::DiskOptions;
pub use self::shelf::{Folder, Shelf};
use self::turns::Turns;
use super::stats::Stats;
use super::tell::Tell;
use super::view::{Listing, ViewState};
use crate::name::ServiceName;
use crate::pick;
use crate::published::Reader;
use crate::snapshot::Snapshot;

/// From as many entries on, they are written and read where it may block.
const MANY: usize = 256;
/// How long a shelf may take to save; and to load, before the log is told that it is slow.
const IN_TIME: Duration = Duration::from_secs(10);
/// How often the log is told of saves that fail, at most, however many files a directory has.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A view as it was read.
pub(super) struct Saved {
    pub(super) snapshot: Snapshot,
    /// How long it had been proven current when it was read.
    pub(super) age: Duration,
    pub(super) read: Instant,
}

/// The files of a directory.
#[derive(Debug)]
pub(super) struct Disks {
    options: DiskOptions,
    saves: Turns<Newest>,
    failures: Failures,
}

/// Saves that failed since the log was told last.
type Failures = Arc<std::sync::Mutex<Tell<u64>>>;

/// When what was saved last had been proven current.
type Newest = Option<Instant>;

impl Disks {
    pub(super) fn new(options: DiskOptions) -> Self {
        let failures = Arc::new(std::sync::Mutex::new(Tell::new(TELL_EVERY)));
        Self { options, saves: Turns::default(), failures }
    }

    /// The file of `service`.
    pub(super) fn file_of(&self, service: ServiceName, stats: Arc<Stats>) -> Disk {
        let name = file_name(&self.options.store, &service);
        let (newest, failures) = (self.saves.of(&name), Arc::clone(&self.failures));
        Disk { options: self.options.clone(), service, name, newest, failures, stats }
    }
}

type How<T> = fn(&[u8], &Wanted<'_>) -> Result<T, Rejected>;

/// The file of one service.
#[derive(Clone)]
pub(super) struct Disk {
    options: DiskOptions,
    service: ServiceName,
    name: String,
    /// A view that has ended may still be saving when the next one of its service begins to.
    newest: Arc<Mutex<Newest>>,
    /// Those of all files of the directory.
    failures: Failures,
    stats: Arc<Stats>,
}

impl Disk {
    pub(super) fn grace(&self) -> Duration {
        self.options.grace
    }

    /// What was saved, if it can be trusted.
    pub(super) async fn load(self) -> Option<Saved> {
        let mut loading = pin!(caught(self.options.shelf.load(&self.name)));
        let loaded = match timeout(IN_TIME, &mut loading).await {
            Ok(loaded) => loaded,
            Err(_) => {
                tracing::warn!(service = %self.service, file = %self.name, "a saved view is still being read");
                loading.await
            }
        };
        let file = match loaded {
            Ok(file) => file?,
            Err(error) => {
                self.reject(&format_args!("cannot be read: {error}"));
                return None;
            }
        };
        let read = Instant::now();
        let Decoded { snapshot, age } =
            self.read(file, decode).await.map_err(|why| self.reject(&why)).ok()?;
        let skipped = snapshot.skipped();
        if skipped > 0 {
            tracing::warn!(service = %self.service, file = %self.name, skipped, "entries of a saved view cannot be read, and are left out");
        }
        Some(Saved { snapshot, age, read })
    }

    /// Whether what was just saved would be used: where the file system gives it to another user, say, it would not, and that is better known before the
    /// day on which it is needed.
    async fn would_be_used(&self) -> Result<(), String> {
        let loaded = timeout(IN_TIME, caught(self.options.shelf.load(&self.name))).await;
        match loaded.map_err(|_| format!("takes more than {IN_TIME:?} to be read"))? {
            Ok(Some(file)) => self.read(file, check).await,
            Ok(None) => Err("is not there".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    /// What `how` finds in a file, or why that is not trusted.
    async fn read<T: Send + 'static>(&self, file: Vec<u8>, how: How<T>) -> Result<T, String> {
        let now = (self.options.clock)();
        let (disk, large) = (self.clone(), file.len() > 1024 * MANY);
        let read = move || {
            let Self { options, service, .. } = &disk;
            how(&file, &Wanted { store: &options.store, service, now, max_age: options.max_age })
        };
        let read = if large { spawn_blocking(read).await } else { Ok(read()) };
        read.map_err(|error| error.to_string())?.map_err(|why| why.to_string())
    }

    fn complain(&self, error: &io::Error) {
        // A few numbers, which are as they should be.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.add(|untold| *untold += 1);
        if let Some(failed) = failures.take(Instant::now()) {
            tracing::warn!(service = %self.service, file = %self.name, %error, failed, "views cannot be saved");
        }
    }

    fn reject(&self, why: &dyn fmt::Display) {
        self.stats.disk_rejected();
        tracing::warn!(service = %self.service, file = %self.name, %why, "a saved view is not used");
    }

    /// Saves what `reader` reads, as it changes. Never ends, but with the view.
    pub(super) async fn keep(self, reader: Reader<ViewState>) {
        Keeper::new(self, reader).run().await;
    }

    /// Whether it was saved, or need not be, since a newer one was.
    async fn try_save(&self, listing: Arc<Listing>, proven: Instant) -> bool {
        let mut newest = self.newest.lock().await;
        if newest.is_some_and(|newest| newest > proven) {
            return true;
        }
        match self.save(listing, proven).await {
            Ok(()) => {
                *newest = Some(proven);
                self.stats.disk_saved();
                true
            }
            Err(error) => {
                self.stats.disk_failed();
                self.complain(&error);
                false
            }
        }
    }

    async fn save(&self, listing: Arc<Listing>, proven: Instant) -> io::Result<()> {
        let ago = Instant::now().saturating_duration_since(proven).as_millis();
        let proven = (self.options.clock)().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX));
        let bytes = if listing.snapshot().len() > MANY {
            let store = self.options.store.clone();
            spawn_blocking(move || encode(listing.snapshot(), &store, proven))
                .await
                .map_err(io::Error::other)?
        } else {
            encode(listing.snapshot(), &self.options.store, proven)
        };
        let saved = timeout(IN_TIME, caught(self.options.shelf.save(&self.name, bytes))).await;
        saved.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("takes more than {IN_TIME:?}")))
        })
    }
}

/// A shelf that panics has failed: the view, in whose task it is, goes on.
async fn caught<T>(shelf: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    // Nothing that it may have left half done is used again.
    let done = AssertUnwindSafe(shelf).catch_unwind().await;
    done.unwrap_or_else(|_| Err(io::Error::other("the shelf panicked")))
}

/// Stores and services never share a file, also where names differ only in case and the file system does not tell.
fn file_name(store: &str, service: &ServiceName) -> String {
    let hash = pick::hash(format!("{store}\0{service}").as_bytes());
    let readable: String = service.as_str().chars().take(100).collect();
    format!("{readable}-{hash:016x}.view")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, Epoch, Instance, Revision};
    use crate::{Entry, Incarnation};

    /// A shelf for one file.
    #[derive(Debug, Default)]
    struct Nail(std::sync::Mutex<Option<Vec<u8>>>);

    #[async_trait::async_trait]
    impl Shelf for Nail {
        async fn load(&self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn save(&self, _: &str, bytes: Vec<u8>) -> std::io::Result<()> {
            *self.0.lock().unwrap() = Some(bytes);
            Ok(())
        }
    }

    fn listing(instances: u16) -> Arc<Listing> {
        let service = ServiceName::new("user").unwrap();
        let entry = |port: u16| {
            let endpoint = format!("10.0.0.1:{port}");
            let instance = Instance::builder(service.clone()).endpoint(endpoint).build().unwrap();
            let (first, revision) = (Incarnation::new(1), Revision::new(port.into()));
            Arc::new(Entry::new(instance, first, revision, revision))
        };
        let cursor = Cursor::new(Epoch::new(1), Revision::new(instances.into()), 0);
        Listing::new(Snapshot::new(service.clone(), cursor, (1..=instances).map(entry)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_view_saved_that_has_ended_never_replaces_what_is_newer() {
        let disks = Disks::new(DiskOptions::on(Arc::new(Nail::default()), "test"));
        let file = || disks.file_of(ServiceName::new("user").unwrap(), Arc::default());
        let (ended, next) = (file(), file());
        let now = Instant::now();
        assert!(next.try_save(listing(2), now).await);
        assert!(ended.try_save(listing(1), now - Duration::from_millis(1)).await, "it need not be saved");
        assert_eq!(file().load().await.unwrap().snapshot.len(), 2);
        assert_eq!((next.stats.read().disk_saved, ended.stats.read().disk_saved), (1, 0));
        assert!(next.try_save(listing(3), now).await);
        assert_eq!(file().load().await.unwrap().snapshot.len(), 3);
    }

    #[test]
    fn every_store_and_service_has_a_file_of_its_own_with_a_name_for_any_file_system() {
        let service = |name: &str| ServiceName::new(name).unwrap();
        let long = "a".repeat(ServiceName::MAX_LEN);
        let names = [
            file_name("", &service("user")),
            file_name("", &service("User")),
            file_name("prod", &service("user")),
            file_name("prod", &service("user.rpc")),
            file_name("prod", &service(&long)),
        ];
        let folded: std::collections::BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(folded.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() < 200 && !name.contains('/')), "{names:?}");
    }
}
