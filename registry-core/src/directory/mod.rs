//! The live view of services: one watch upstream per service, however many subscribers.

mod cold;
mod debounce;
mod derived;
mod disk;
mod given_up;
mod guard;
mod options;
mod select;
mod stats;
mod subset;
mod tell;
mod view;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::mpsc;

pub use self::debounce::Debounce;
use self::disk::Disks;
pub use self::disk::{DiskOptions, Folder, Shelf};
pub use self::guard::{Held, HeldCause};
pub use self::options::{DirectoryOptions, GuardOptions, ViewOptions};
pub use self::select::{Filter, ZonePreference};
#[cfg_attr(not(feature = "metrics"), allow(unused_imports, reason = "a meter's"))]
pub(crate) use self::stats::Stats;
pub use self::stats::ViewStats;
pub use self::subset::Subset;
pub use self::view::{Differences, Freshness, View, ViewRef, ViewState};
use self::view::{Origin, Shared};
use self::worker::Work;
use crate::name::ServiceName;
use crate::registry::Registry;

/// Keeps views of services up to date. Cheap to clone; all clones share their views.
///
/// The first [`view`](Self::view) of a service opens one watch on it, every further one shares it, and it ends with the last
/// view. A view outlives the directory it came from, but not the runtime that it was made in: then it is
/// [`Stale`](Freshness::Stale) for good, and asking for it again makes another one.
///
/// ```
/// # async fn example(registry: std::sync::Arc<dyn registry_core::Registry>) -> registry_core::Result<()> {
/// use registry_core::{Directory, ServiceName};
///
/// let directory = Directory::new(registry);
/// let view = directory.view(&ServiceName::new("user.rpc")?);
/// view.ready().await;
/// for entry in view.load().entries() {
///     println!("{}", entry.instance().endpoint());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    registry: Arc<dyn Registry>,
    options: DirectoryOptions,
    disks: Option<Disks>,
    views: Mutex<HashMap<ServiceName, Weak<Shared>>>,
}

impl Directory {
    /// A directory of the services of `registry`, whose views are what the registry lists. Does nothing until a view is asked for.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self::with_options(registry, DirectoryOptions::default())
    }

    /// A directory with a guard, with views on disk, or with views that choose.
    ///
    /// ```
    /// # fn example(registry: std::sync::Arc<dyn registry_core::Registry>) -> registry_core::Directory {
    /// use registry_core::{Directory, DirectoryOptions, DiskOptions, GuardOptions};
    ///
    /// let options = DirectoryOptions::new()
    ///     .with_guard(GuardOptions::new().with_share(0.3))
    ///     .with_disk(DiskOptions::new("/var/cache/shop", "production"));
    /// Directory::with_options(registry, options)
    /// # }
    /// ```
    #[must_use]
    pub fn with_options(registry: Arc<dyn Registry>, options: DirectoryOptions) -> Self {
        let disks = options.disk.clone().map(Disks::new);
        Self { inner: Arc::new(Inner { registry, options, disks, views: Mutex::default() }) }
    }

    /// The view of `service`, shared with all who ask for it unless the directory's options say [how it chooses](DirectoryOptions::view). Returns at
    /// once; [`View::ready`] waits for the first snapshot.
    ///
    /// Must be called within a tokio runtime: a task of it keeps the view up to date.
    #[must_use]
    pub fn view(&self, service: &ServiceName) -> View {
        self.view_with(service, self.inner.options.view.clone())
    }

    /// A view of what `options` choose of `service`. It has a task of its own, shared by its clones; the watch is shared by all views of the
    /// service. A change costs each such view a logarithm of the number of instances, and what its [`Subset`] costs; a change of what is held, as much as
    /// is held. Each keeps tables of its own with all instances that its filter accepts, a few pointers for each: of a service with very many,
    /// share a view among those who want the same rather than ask for it again.
    ///
    /// Must be called within a tokio runtime, as [`view`](Self::view).
    #[must_use]
    pub fn view_with(&self, service: &ServiceName, options: ViewOptions) -> View {
        let all = self.view_of_all(service);
        if options.is_plain() {
            return all;
        }
        let task = derived::spawn(service.clone(), all.reader(), options);
        View::new(Arc::new(Shared::new(service.clone(), task, Origin::View(all))))
    }

    fn view_of_all(&self, service: &ServiceName) -> View {
        // One that is dead may end here, and takes the lock then: it must be dropped after the lock.
        let found;
        let mut views = self.inner.lock();
        found = views.get(service).and_then(Weak::upgrade);
        if let Some(shared) = &found
            && shared.is_alive()
        {
            return View::new(Arc::clone(shared));
        }
        let disks = self.inner.disks.as_ref();
        let (stats, (releases, asked)) = (Arc::<Stats>::default(), mpsc::unbounded_channel());
        let guard = self.inner.options.guard.clone();
        let task = worker::spawn(Work {
            service: service.clone(),
            watch: self.inner.registry.watch(service, None),
            guard: guard.map(|guard| guard.on(self.inner.registry.guarantees().delete_causes)),
            disk: disks.map(|disks| disks.file_of(service.clone(), Arc::clone(&stats))),
            releases: asked,
            stats: Arc::clone(&stats),
        });
        let origin = Origin::Watch { directory: Arc::downgrade(&self.inner), releases, stats };
        let shared = Arc::new(Shared::new(service.clone(), task, origin));
        views.insert(service.clone(), Arc::downgrade(&shared));
        View::new(shared)
    }

    /// The views of all services that are being watched at the moment, each of all instances: for who measures them. Keeping them keeps the
    /// watches open.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        // The last ones may end here, and take the lock then: they are dropped by the caller.
        let views: Vec<_> = self.inner.lock().values().filter_map(Weak::upgrade).collect();
        views.into_iter().map(View::new).collect()
    }

    /// How many services are being watched at the moment.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.inner.lock().values().filter(|shared| shared.strong_count() > 0).count()
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.inner.registry
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Weak<Shared>>> {
        // Nothing that is done under the lock leaves the map half changed.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last view of `service` is gone, unless a new one came in the meantime.
    fn forget(&self, service: &ServiceName) {
        let mut views = self.lock();
        if views.get(service).is_some_and(|shared| shared.strong_count() == 0) {
            views.remove(service);
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("registry", &self.inner.registry)
            .field("options", &self.inner.options)
            .field("watched", &self.watched())
            .finish()
    }
}
