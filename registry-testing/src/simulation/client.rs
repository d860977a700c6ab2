//! One process's way to the store: what is asked and what is served, written down, with the faults in between.
//!
//! ```text
//! caller -> Asked -> dice (Faulty) -> Served -> defect (Mutant) -> link -> store
//! watch  <- defect <- resume machine <- dice (FaultySource) <- defect <- link <- store
//! ```

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::fault::{Faults, Faulty, FaultySource};
use registry_core::resume::{self, ResumeOptions};
use registry_core::{
    Cursor, ErrorKind, Guarantees, Instance, Lease, Operation, RegisterOptions, Registration, Registry,
    Result, Revision, ServiceName, Snapshot, Watch,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Duration, Instant};

use super::history::{Answer, History, OperationRecord, Record};
use super::mutant::{Memory, Mutant, MutantSource, mutate_watch};

/// Writes down every operation as `inner` answers it.
#[derive(Clone, Debug)]
struct Recorded<R> {
    inner: R,
    client: usize,
    history: History,
    wrap: fn(OperationRecord) -> Record,
}

impl<R: Registry> Recorded<R> {
    async fn record<T>(
        &self,
        mut record: OperationRecord,
        call: impl Future<Output = Result<T>>,
        answer: impl FnOnce(&T, &mut OperationRecord) -> Answer,
    ) -> Result<T> {
        let result = call.await;
        record.returned = Instant::now();
        record.outcome = match &result {
            Ok(value) => Ok(answer(value, &mut record)),
            Err(error) => Err(error.kind()),
        };
        self.history.push((self.wrap)(record));
        result
    }

    fn blank(&self, operation: Operation) -> OperationRecord {
        let now = Instant::now();
        OperationRecord {
            client: self.client,
            operation,
            service: None,
            id: None,
            lease: None,
            ttl: None,
            token: None,
            instance: None,
            invoked: now,
            returned: now,
            outcome: Err(ErrorKind::Closed),
        }
    }

    fn of_lease(&self, operation: Operation, lease: &Lease) -> OperationRecord {
        OperationRecord {
            service: Some(lease.service().clone()),
            id: Some(lease.id().clone()),
            lease: Some(lease.clone()),
            ..self.blank(operation)
        }
    }
}

#[async_trait]
impl<R: Registry> Registry for Recorded<R> {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let record = OperationRecord {
            service: Some(instance.service().clone()),
            id: Some(instance.id().clone()),
            token: Some(options.token),
            instance: Some(instance.clone()),
            ..self.blank(Operation::Register)
        };
        self.record(record, self.inner.register(instance, options), |registration, record| {
            record.lease = Some(registration.lease.clone());
            record.ttl = Some(registration.ttl.get());
            Answer::At(registration.revision)
        })
        .await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        let record = self.of_lease(Operation::Keepalive, lease);
        self.record(record, self.inner.keepalive(lease), |(), _| Answer::Done).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let record =
            OperationRecord { instance: Some(instance.clone()), ..self.of_lease(Operation::Update, lease) };
        self.record(record, self.inner.update(lease, instance), |revision, _| Answer::At(*revision)).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        let record = self.of_lease(Operation::Deregister, lease);
        self.record(record, self.inner.deregister(lease), |(), _| Answer::Done).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        let record = OperationRecord { service: Some(service.clone()), ..self.blank(Operation::Lookup) };
        self.record(record, self.inner.lookup(service), |list, _| Answer::Listed(list.clone())).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.record(self.blank(Operation::Services), self.inner.services(prefix), |_, _| Answer::Done).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}

/// The store behind one process's link, with the planted defect.
#[derive(Clone, Debug)]
struct Defective {
    store: MemoryRegistry,
    mutant: Option<Mutant>,
    memory: Arc<Memory>,
    faults: Faults,
    seed: u64,
}

#[async_trait]
impl Registry for Defective {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let asked = Mutant::register_options(self.mutant, options, &self.memory);
        let mut registration = self.store.register(instance, &asked).await?;
        self.memory.registered(&registration.lease);
        registration.ttl = options.ttl;
        Ok(registration)
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        let used = self.memory.lease(self.mutant, lease);
        match (self.store.keepalive(&used).await, self.mutant) {
            (Err(error), Some(Mutant::LeaseLossHidden)) if error.kind() == ErrorKind::LeaseLost => Ok(()),
            (Err(error), Some(Mutant::HeartbeatRecreates)) if error.kind() == ErrorKind::LeaseLost => {
                let instance =
                    Instance::builder(lease.service()).id(lease.id()).endpoint("127.0.0.1:1").build()?;
                self.store
                    .register(&instance, &RegisterOptions::new().with_claim(lease.incarnation()))
                    .await?;
                Ok(())
            }
            (result, _) => result,
        }
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.store.update(&self.memory.lease(self.mutant, lease), instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.store.deregister(&self.memory.lease(self.mutant, lease)).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        Ok(self.memory.list(self.mutant, self.store.lookup(service).await?))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.store.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        let source = MutantSource { store: self.store.clone(), mutant: self.mutant };
        let source = FaultySource::new(source, self.faults.clone());
        let options = ResumeOptions::default().with_seed(self.seed);
        mutate_watch(self.mutant, resume::watch(Arc::new(source), service.clone(), from, options))
    }

    fn guarantees(&self) -> Guarantees {
        self.store.guarantees().with_expiry_bound(Duration::ZERO)
    }
}

/// One process's client, and what can be done to it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) registry: Arc<dyn Registry>,
    /// The same store over the same link, for its controls.
    pub(super) store: MemoryRegistry,
    pub(super) faults: Faults,
}

impl Client {
    pub(super) fn new(
        number: usize,
        store: &MemoryRegistry,
        mutant: Option<Mutant>,
        memory: Arc<Memory>,
        history: &History,
        seed: u64,
    ) -> Self {
        let store = store.client();
        let faults = Faults::new(registry_core::fault::FaultPlan::default(), seed);
        let defective = Defective { store: store.clone(), mutant, memory, faults: faults.clone(), seed };
        let served =
            Recorded { inner: defective, client: number, history: history.clone(), wrap: Record::Served };
        let faulty = Faulty::new(served, faults.clone());
        let asked = Recorded { inner: faulty, client: number, history: history.clone(), wrap: Record::Asked };
        Self { registry: Arc::new(asked), store, faults }
    }
}
