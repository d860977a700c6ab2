//! The registry in a directory, careless with entries that it cannot read.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use registry_core::{
    Cursor, Error, ErrorKind, Guarantees, Instance, InstanceId, Lease, Operation, RegisterOptions,
    Registration, Registry, Result, Revision, ServiceName, Snapshot, Watch,
};
use registry_testing::conformance::Backend;

use crate::file_registry::FileRegistry;

/// How much care is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// All that is promised.
    Enough,
    /// What cannot be read fails the lookup.
    LookupFails,
    /// It is left out and not counted.
    NotCounted,
    /// It stops the watch.
    WatchStops,
    /// What was there before goes on being listed.
    OldValueKept,
    /// Its id cannot be registered.
    IdBlocked,
}

const ALL: &[&str] = &[
    "what_cannot_be_read_is_skipped_and_counted",
    "what_cannot_be_read_does_not_stop_a_watch",
    "what_cannot_be_read_does_not_stop_a_resumed_watch",
    "an_entry_that_became_rubbish_is_gone_everywhere",
    "an_id_that_holds_rubbish_can_be_registered",
    "a_service_of_rubbish_has_no_instances",
];

/// The promises whose tests must fail; with enough care, those that must not.
pub(crate) const CARELESS: &[(Care, &[&str])] = &[
    (Care::Enough, ALL),
    (
        Care::LookupFails,
        &["what_cannot_be_read_is_skipped_and_counted", "a_service_of_rubbish_has_no_instances"],
    ),
    (
        Care::NotCounted,
        &["what_cannot_be_read_is_skipped_and_counted", "a_service_of_rubbish_has_no_instances"],
    ),
    (
        Care::WatchStops,
        &[
            "what_cannot_be_read_does_not_stop_a_watch",
            "what_cannot_be_read_does_not_stop_a_resumed_watch",
            "an_entry_that_became_rubbish_is_gone_everywhere",
        ],
    ),
    (Care::OldValueKept, &["an_entry_that_became_rubbish_is_gone_everywhere"]),
    (Care::IdBlocked, &["an_id_that_holds_rubbish_can_be_registered"]),
];

#[derive(Debug)]
pub(crate) struct CarelessBackend {
    root: PathBuf,
    registry: FileRegistry,
    care: Care,
}

impl CarelessBackend {
    pub(crate) fn new(care: Care) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("careless-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self { registry: FileRegistry::open(&root), root, care }
    }
}

impl Drop for CarelessBackend {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[async_trait]
impl Backend for CarelessBackend {
    async fn client(&self) -> Arc<dyn Registry> {
        Arc::new(Careless { inner: self.registry.clone(), care: self.care })
    }

    async fn compact(&self) {
        self.registry.compact();
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let path = self.registry.path(service, id);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[derive(Debug)]
struct Careless {
    inner: FileRegistry,
    care: Care,
}

#[async_trait]
impl Registry for Careless {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let there = self.inner.path(instance.service(), instance.id()).exists();
        let listed = self.inner.lookup(instance.service()).await?.get(instance.id()).is_some();
        if self.care == Care::IdBlocked && there && !listed {
            return Err(Error::new(ErrorKind::Corrupt, Operation::Register, "it holds something"));
        }
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
        let found = self.inner.lookup(service).await?;
        match self.care {
            Care::LookupFails if found.skipped() > 0 => {
                Err(Error::new(ErrorKind::Corrupt, Operation::Lookup, "an entry cannot be read"))
            }
            Care::NotCounted => Ok(found.with_skipped(0)),
            _ => Ok(found),
        }
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        let events = self.inner.watch(service, from);
        let (registry, name, care) = (self.inner.clone(), service.clone(), self.care);
        Watch::new(
            events
                .filter_map(move |event| {
                    let (registry, name) = (registry.clone(), name.clone());
                    async move {
                        let broken = registry.lookup(&name).await.is_ok_and(|found| found.skipped() > 0);
                        match care {
                            Care::WatchStops if broken => std::future::pending().await,
                            Care::OldValueKept if broken => Some(event)
                                .filter(|event| !matches!(event, registry_core::WatchEvent::Changes(_))),
                            _ => Some(event),
                        }
                    }
                })
                .boxed(),
        )
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
