//! The live view of services: one watch upstream per service, however many subscribers.

mod view;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use self::view::Shared;
pub use self::view::{Differences, Freshness, View, ViewRef, ViewState};
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
    views: Mutex<HashMap<ServiceName, Weak<Shared>>>,
}

impl Directory {
    /// A directory of the services of `registry`. Does nothing until a view is asked for.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self { inner: Arc::new(Inner { registry, views: Mutex::default() }) }
    }

    /// The view of `service`, shared with all who ask for it. Returns at once; [`View::ready`] waits for the first snapshot.
    ///
    /// Must be called within a tokio runtime: a task of it keeps the view up to date.
    #[must_use]
    pub fn view(&self, service: &ServiceName) -> View {
        // One that is dead may end here, and takes the lock then: it must be dropped after the lock.
        let found;
        let mut views = self.inner.lock();
        found = views.get(service).and_then(Weak::upgrade);
        if let Some(shared) = &found
            && shared.is_alive()
        {
            return View::new(Arc::clone(shared));
        }
        let watch = self.inner.registry.watch(service, None);
        let reader = worker::spawn(service.clone(), watch);
        let shared = Arc::new(Shared::new(service.clone(), reader, Arc::downgrade(&self.inner)));
        views.insert(service.clone(), Arc::downgrade(&shared));
        View::new(shared)
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
            .field("watched", &self.watched())
            .finish()
    }
}
