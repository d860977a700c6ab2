//! A registry of what is known beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::unfold;
use registry_core::resume::{PROGRESS_INTERVAL, ResumeOptions};
use registry_core::{
    Cursor, Endpoint, Entry, Epoch, Error, ErrorKind, Feed, FeedItem, GapDetection, Guarantees, Incarnation,
    Instance, InstanceId, Lease, Operation, OwnerToken, RegisterOptions, Registration, Registry, ResetCause,
    Result, Revision, RevisionScope, ServiceName, Snapshot, Watch, WatchSource, resume,
};
use tokio::time::sleep;

/// The name of this backend in errors and logs.
const BACKEND: &str = "fixed";

/// A registry whose instances are given when it is made and never change: for clients that are told whom to call.
///
/// Lookups and watches keep the contract of [`Registry`]; registering is [`Unsupported`](ErrorKind::Unsupported), and so is whatever
/// needs a lease. Cheap to clone; clones are the same registry.
///
/// ```
/// use registry_core::Directory;
/// use registry_tonic::{Channel, FixedRegistry};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let service = "user.rpc".parse()?;
/// let registry = FixedRegistry::of_endpoints(&service, ["10.0.0.7:8080".parse()?, "10.0.0.8:8080".parse()?])?;
/// let channel = Channel::new(&Directory::new(std::sync::Arc::new(registry)), &service);
/// # Ok::<(), registry_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FixedRegistry {
    services: Arc<BTreeMap<ServiceName, Snapshot>>,
    cursor: Cursor,
}

impl FixedRegistry {
    /// A registry of these instances, of one service or of several.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when two of one service have the same id.
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Result<Self> {
        let mut services: BTreeMap<ServiceName, BTreeMap<InstanceId, Arc<Entry>>> = BTreeMap::new();
        // Before and after it nothing happens. The epoch is drawn, so that the cursor of another registry is none of this one.
        let only = Revision::new(1);
        let cursor = Cursor::new(Epoch::new(OwnerToken::random().as_u128() as u64), only, 0);
        for instance in instances {
            let entries = services.entry(instance.service().clone()).or_default();
            let id = instance.id().clone();
            let entry = Arc::new(Entry::new(instance, Incarnation::default(), only, only));
            if let Some(other) = entries.insert(id, entry) {
                let reason = format!("{} is there twice in {}", other.id(), other.instance().service());
                return Err(Error::invalid("instance id", reason));
            }
        }
        let snapshot = |(service, entries): (ServiceName, BTreeMap<_, _>)| {
            (service.clone(), Snapshot::new(service, cursor, entries.into_values()))
        };
        Ok(Self { services: Arc::new(services.into_iter().map(snapshot).collect()), cursor })
    }

    /// A registry of one instance of `service` for each endpoint.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when an endpoint is there twice.
    pub fn of_endpoints(
        service: &ServiceName,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Self> {
        let instance = |endpoint: Endpoint| Instance::builder(service).endpoint(endpoint).build();
        let instances: Vec<Instance> = endpoints.into_iter().map(instance).collect::<Result<_>>()?;
        Self::new(instances)
    }

    fn snapshot(&self, service: &ServiceName) -> Snapshot {
        let found = self.services.get(service).cloned();
        found.unwrap_or_else(|| Snapshot::new(service.clone(), self.cursor, []))
    }
}

fn unsupported(operation: Operation) -> Error {
    Error::new(ErrorKind::Unsupported, operation, "the instances of this registry are fixed")
        .with_backend(BACKEND)
}

#[async_trait]
impl Registry for FixedRegistry {
    async fn register(&self, _: &Instance, _: &RegisterOptions) -> Result<Registration> {
        Err(unsupported(Operation::Register))
    }

    async fn keepalive(&self, _: &Lease) -> Result<()> {
        Err(unsupported(Operation::Keepalive))
    }

    async fn update(&self, _: &Lease, _: &Instance) -> Result<Revision> {
        Err(unsupported(Operation::Update))
    }

    async fn deregister(&self, _: &Lease) -> Result<()> {
        Err(unsupported(Operation::Deregister))
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        Ok(self.snapshot(service))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        Ok(self.services.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect())
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        resume::watch(Arc::new(self.clone()), service.clone(), from, ResumeOptions::default())
    }

    /// What is said of leases is the weakest, since there are none.
    fn guarantees(&self) -> Guarantees {
        Guarantees::weakest()
            .with_revision_scope(RevisionScope::Store)
            .with_linearizable_reads(true)
            .with_convergence(Duration::from_secs(1))
            .with_gap_detection(GapDetection::Always)
    }
}

#[async_trait]
impl WatchSource for FixedRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        let cursor = self.cursor;
        let first = match from {
            None => FeedItem::Snapshot(self.snapshot(service)),
            Some(from) if from == cursor => FeedItem::Progress(cursor),
            Some(_) => {
                let reason = "the cursor is of another registry";
                return Err(Error::cursor_lost(ResetCause::Unknown, reason).with_backend(BACKEND));
            }
        };
        let caught_up = matches!(first, FeedItem::Progress(_));
        let next = move |(first, caught_up): (Option<FeedItem>, bool)| async move {
            if let Some(first) = first {
                return Some((Ok(first), (None, caught_up)));
            }
            if caught_up {
                sleep(PROGRESS_INTERVAL).await;
            }
            Some((Ok(FeedItem::Progress(cursor)), (None, true)))
        };
        Ok(Box::pin(unfold((Some(first), caught_up), next)))
    }
}

#[cfg(test)]
mod tests {
    use registry_core::WatchEvent;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn service(name: &str) -> ServiceName {
        name.parse().unwrap()
    }

    fn registry() -> FixedRegistry {
        let endpoints = ["10.0.0.7:8080", "10.0.0.8:8080"].map(|text| text.parse().unwrap());
        FixedRegistry::of_endpoints(&service("user.rpc"), endpoints).unwrap()
    }

    #[tokio::test]
    async fn what_was_given_is_found_and_nothing_else() {
        let registry = registry();
        let found = registry.lookup(&service("user.rpc")).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|entry| entry.id().as_str()).collect();
        assert_eq!(ids, ["10.0.0.7:8080", "10.0.0.8:8080"]);
        assert!(registry.lookup(&service("user")).await.unwrap().is_empty());
        assert_eq!(registry.services("user").await.unwrap(), [service("user.rpc")]);
        assert!(registry.services("order").await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_tells_everything_once_and_then_that_nothing_changes() {
        let registry = registry();
        let mut watch = registry.watch(&service("user.rpc"), None);
        let Some(WatchEvent::Reset { snapshot, cause: ResetCause::First }) = watch.next().await else {
            panic!("a watch starts with a reset");
        };
        assert_eq!(snapshot, registry.lookup(&service("user.rpc")).await.unwrap());
        for _ in 0..5 {
            let progress = timeout(Duration::from_secs(10), watch.next()).await.expect("every 10 s at least");
            let Some(WatchEvent::Progress { cursor }) = progress else { panic!("{progress:?}") };
            assert_eq!(cursor, snapshot.cursor());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_goes_on_from_its_own_cursor_and_begins_anew_from_a_foreign_one() {
        let registry = registry();
        let cursor = registry.lookup(&service("user.rpc")).await.unwrap().cursor();
        let began = Instant::now();
        let resumed = registry.watch(&service("user.rpc"), Some(cursor)).next().await;
        assert!(matches!(resumed, Some(WatchEvent::Live { cursor: at }) if at == cursor), "{resumed:?}");
        assert_eq!(began.elapsed(), Duration::ZERO);
        let other = self::registry();
        let foreign = other.watch(&service("user.rpc"), Some(cursor)).next().await;
        assert!(
            matches!(&foreign, Some(WatchEvent::Reset { snapshot, .. }) if snapshot.len() == 2),
            "{foreign:?}"
        );
    }

    #[tokio::test]
    async fn nothing_can_be_registered_and_the_error_says_so() {
        let registry = registry();
        let instance = Instance::builder("user.rpc").endpoint("10.0.0.9:8080").build().unwrap();
        let error = registry.register(&instance, &RegisterOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(registry.lookup(&service("user.rpc")).await.unwrap().len(), 2);
    }

    #[test]
    fn an_id_that_is_there_twice_is_refused() {
        let endpoint: Endpoint = "10.0.0.7:8080".parse().unwrap();
        let error = FixedRegistry::of_endpoints(&service("a"), [endpoint.clone(), endpoint]).unwrap_err();
        assert_eq!(error.field(), Some("instance id"));
    }
}
