//! Where views are kept, and when they are trusted.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::shelf::{Folder, Shelf};
use crate::entropy;

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where views are kept, and when they are trusted.
///
/// A view is saved whenever it has changed, and while it stays the same, at intervals, since a file's age is counted from when it was last proven
/// current; while it is not current, or while instances are held, nothing is saved. What changed last before the last view of a service is dropped is
/// saved in the background, for as long as the runtime lives. A save that takes more than 10 s has failed, and is tried again. What was saved is served when
/// the registry has not answered soon after the start, until it does: the view is then [`Stale`](crate::Freshness::Stale), and
/// [`ViewState::disk_age`](crate::ViewState::disk_age) tells how old it is.
///
/// A file that is damaged (a checksum), of another format, store or service, of the future or too old is reported in the log, counted in
/// [`ViewStats`](crate::ViewStats), and ignored; what is saved first is read again at once, so that the log tells it before the file is needed.
/// Single entries that cannot be read, as those of a newer library, are skipped and counted. It holds what instances publish, and nothing secret of
/// the registry's. On Unix, folders and files are made for nobody but the user, and a file that is not the user's own, or that others may write, is
/// not read (see [`Folder`]).
///
/// Of processes that share files, the one that saves last is believed. Give all of them the same guard: one without saves the list of a store that
/// was wiped, which the others would have held. Nobody removes the files of services that nobody asks for any more.
#[derive(Clone)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Where they are kept.
    pub shelf: Arc<dyn Shelf>,
    /// Which store they are of, in words of your own, such as `production`. Nothing else tells two stores apart while neither can be reached: what was saved
    /// under other words is foreign, and what was saved under the same words is believed.
    pub store: String,
    /// The age up to which they are trusted. Default: 24 hours.
    pub max_age: Duration,
    /// How long changes are gathered before they are saved; what changed later than this before a crash, or before the end of the runtime, is lost.
    /// A save writes the whole file, about 250 bytes for each instance, and flushes it and its folder to the disk; while a service keeps changing, every process
    /// does so after each such pause. It is longer where saving is slow: 20 times as long as the save before took, up to [`refresh`](Self::refresh).
    /// Default: 1 s.
    pub delay: Duration,
    /// How often a view is saved that has not changed; as much older than it is a file may seem. Default: 1 minute.
    pub refresh: Duration,
    /// How long the registry has for its first answer before what was saved is served; at once when it says that it cannot be reached. Where answering takes
    /// longer, as after a login at an etcd with users (about 100 ms), what was saved is served for a moment at every start, unless this is greater.
    /// Default: 60 ms.
    pub grace: Duration,
    pub(super) clock: Clock,
}

impl DiskOptions {
    /// Keeps views of `store` in the folder at `path`, which several processes can share. The [store](Self::store) has a name so that processes of staging
    /// and of production on one machine never call each other's instances.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, store: impl Into<String>) -> Self {
        Self::on(Arc::new(Folder::new(path)), store)
    }

    /// Keeps views of `store` on `shelf`.
    #[must_use]
    pub fn on(shelf: Arc<dyn Shelf>, store: impl Into<String>) -> Self {
        Self {
            shelf,
            store: store.into(),
            max_age: Duration::from_secs(24 * 60 * 60),
            delay: Duration::from_secs(1),
            refresh: Duration::from_secs(60),
            grace: Duration::from_millis(60),
            clock: Arc::new(entropy::unix_millis),
        }
    }

    /// Sets the age up to which they are trusted.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets how long changes are gathered.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets how often a view is saved that has not changed, at most once a second.
    #[must_use]
    pub fn with_refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(Duration::from_secs(1));
        self
    }

    /// Sets how long the registry has for its first answer.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets what tells the time of day, in milliseconds since 1970. For tests; by default it is the system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskOptions")
            .field("shelf", &self.shelf)
            .field("store", &self.store)
            .field("max_age", &self.max_age)
            .field("delay", &self.delay)
            .field("refresh", &self.refresh)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
