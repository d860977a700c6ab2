//! A client of the in-memory backend with one defect in what it does when called.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    AfterDisruption, Cursor, Durability, Error, ErrorKind, Guarantees, Instance, InstanceId, Lease,
    Operation, RegisterOptions, Registration, Registry, Result, Retry, Revision, ServiceName, Snapshot,
    Watch,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, sleep};

use crate::defect::Defect;
use crate::watch;

/// What was registered last under an id.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) instance: Instance,
    pub(crate) options: RegisterOptions,
    pub(crate) registration: Registration,
    pub(crate) beats: u32,
}

/// What all clients of one defective store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) defect: Defect,
    /// A store that no control takes away.
    pub(crate) store: MemoryRegistry,
    /// A second one, for the defect of splitting services over stores.
    pub(crate) second: MemoryRegistry,
    pub(crate) known: Mutex<BTreeMap<(ServiceName, InstanceId), Known>>,
    pub(crate) names: Mutex<Vec<ServiceName>>,
    pub(crate) left: Mutex<Vec<InstanceId>>,
    pub(crate) cache: Mutex<BTreeMap<ServiceName, (Instant, Snapshot)>>,
    pub(crate) registered: AtomicUsize,
    pub(crate) lookups: AtomicUsize,
    pub(crate) clients: AtomicUsize,
    pub(crate) stales: AtomicUsize,
    pub(crate) full: AtomicBool,
    pub(crate) busy: AtomicBool,
    pub(crate) broken: AtomicBool,
    pub(crate) watches: watch::Watches,
}

#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) inner: MemoryRegistry,
    pub(crate) shared: Arc<Shared>,
    number: usize,
    failed: Arc<AtomicBool>,
}

impl Broken {
    pub(crate) fn new(inner: MemoryRegistry, shared: &Arc<Shared>) -> Self {
        let number = shared.clients.fetch_add(1, Ordering::Relaxed);
        Self { inner, shared: Arc::clone(shared), number, failed: Arc::default() }
    }

    pub(crate) fn is(&self, defect: Defect) -> bool {
        self.shared.defect == defect
    }

    /// The store that has `service`.
    pub(crate) fn of(&self, service: &ServiceName) -> &MemoryRegistry {
        if self.is(Defect::ScopeOverclaimed) && service.as_str() < "b" {
            &self.shared.second
        } else {
            &self.inner
        }
    }

    pub(crate) fn known(&self, lease: &Lease) -> Option<Known> {
        self.shared.known.lock().unwrap().get(&(lease.service().clone(), lease.id().clone())).cloned()
    }

    pub(crate) fn remember(&self, known: Known) {
        let lease = &known.registration.lease;
        let key = (lease.service().clone(), lease.id().clone());
        self.shared.names.lock().unwrap().push(key.0.clone());
        self.shared.known.lock().unwrap().insert(key, known);
    }

    /// Keeps hold of the registry while an operation runs; a dropped operation never lets go.
    async fn enter(&self) {
        if self.is(Defect::DroppedCallsBlock) {
            while self.shared.busy.swap(true, Ordering::Relaxed) {
                sleep(Duration::from_secs(1)).await;
            }
            tokio::task::yield_now().await;
        }
    }

    fn leave<T>(&self, operation: Operation, result: Result<T>) -> Result<T> {
        self.shared.busy.store(false, Ordering::Relaxed);
        let away = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        if self.is(Defect::OneFailureIsForEver) {
            if away {
                self.failed.store(true, Ordering::Relaxed);
            }
            if self.failed.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, operation, "it failed before"));
            }
        }
        result.map_err(|error| match self.shared.defect {
            Defect::ErrorsUnclassified => {
                Error::new(ErrorKind::Corrupt, operation, "something went wrong").with_retry(Retry::Never)
            }
            Defect::ErrorsWithoutBackend => error.with_backend(""),
            Defect::ErrorsNameAnotherOperation => error.with_operation(Operation::Connect),
            Defect::ErrorsAdviseWrongly => error.with_retry(Retry::Now),
            _ => error,
        })
    }
}

#[async_trait]
impl Registry for Broken {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.enter().await;
        let result = self.do_register(instance, options).await;
        self.leave(Operation::Register, result)
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.enter().await;
        let result = self.do_keepalive(lease).await;
        self.leave(Operation::Keepalive, result)
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.enter().await;
        let result = self.do_update(lease, instance).await;
        self.leave(Operation::Update, result)
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.enter().await;
        let result = self.do_deregister(lease).await;
        self.leave(Operation::Deregister, result)
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.enter().await;
        let result = self.do_lookup(service).await;
        self.leave(Operation::Lookup, result)
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.enter().await;
        let result = self.do_services(prefix).await;
        self.leave(Operation::Services, result)
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        watch::broken(self, self.of(service), service, from)
    }

    fn guarantees(&self) -> Guarantees {
        let honest = self.inner.guarantees();
        match self.shared.defect {
            Defect::BoundOverclaimed => honest.with_expiry_bound(Duration::ZERO),
            Defect::ConvergenceOverclaimed => honest.with_convergence(Duration::from_millis(5)),
            Defect::CrashOverclaimed | Defect::RestartExtends | Defect::RestartExpires => {
                honest.with_durability(Durability::ProcessCrash)
            }
            Defect::PowerCutOverclaimed => honest.with_durability(Durability::PowerCut),
            Defect::MinorityOverclaimed => honest.with_durability(Durability::MinorityLoss),
            Defect::OneTtlOverclaimed | Defect::KeepingOverclaimed => {
                honest.with_after_disruption(AfterDisruption::ExtendedByAtMostOneTtl)
            }
            Defect::GuaranteesDiffer if self.number % 2 == 1 => honest.with_linearizable_reads(false),
            _ => honest,
        }
    }
}
