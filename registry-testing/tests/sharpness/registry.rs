//! A client of the in-memory backend with one defect in what it does when called.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    AfterDisruption, Cursor, Durability, Error, ErrorKind, Guarantees, Incarnation, Instance, InstanceId,
    Lease, OnConflict, Operation, OwnerToken, RegisterOptions, Registration, Registry, Result, Retry,
    Revision, ServiceName, Snapshot, Status, Ttl, Watch,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, sleep, timeout};

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

    fn is(&self, defect: Defect) -> bool {
        self.shared.defect == defect
    }

    /// The store that has `service`.
    fn of(&self, service: &ServiceName) -> &MemoryRegistry {
        if self.is(Defect::ScopeOverclaimed) && service.as_str() < "b" {
            &self.shared.second
        } else {
            &self.inner
        }
    }

    fn known(&self, lease: &Lease) -> Option<Known> {
        self.shared.known.lock().unwrap().get(&(lease.service().clone(), lease.id().clone())).cloned()
    }

    fn remember(&self, known: Known) {
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

    async fn do_register(&self, instance: &Instance, asked: &RegisterOptions) -> Result<Registration> {
        let mut options = asked.clone();
        let inner = self.of(instance.service());
        let store = if self.is(Defect::ScopeOverclaimed) { inner } else { &self.shared.store };
        let controls = store.controls();
        let listed = store.lookup(instance.service()).await?.get(instance.id()).cloned();
        let key = (instance.service().clone(), instance.id().clone());
        let known = self.shared.known.lock().unwrap().get(&key).cloned();
        let ours =
            known.as_ref().is_some_and(|known| known.options.token == options.token) && listed.is_some();
        let mut instance = instance.clone();
        match self.shared.defect {
            Defect::RestartRefused if options.on_conflict == OnConflict::TakeOver => {
                options.on_conflict = OnConflict::Refuse;
            }
            Defect::RefuseTakesOver if options.on_conflict == OnConflict::Refuse => {
                options.on_conflict = OnConflict::TakeOver;
            }
            Defect::ReclaimTakesOver if options.on_conflict == OnConflict::Reclaim => {
                options.on_conflict = OnConflict::TakeOver;
            }
            Defect::ReclaimRefuses if options.on_conflict == OnConflict::Reclaim => {
                options.on_conflict = OnConflict::Refuse;
            }
            Defect::ReclaimNeedsAnEntry if options.on_conflict == OnConflict::Reclaim && listed.is_none() => {
                return Err(Error::new(ErrorKind::AlreadyRegistered, Operation::Register, "nothing there"));
            }
            Defect::TokenForgotten => options.token = OwnerToken::random(),
            Defect::RepeatingDoesNothing if ours => return Ok(known.unwrap().registration),
            Defect::TakeoverIsDeleteAndPut if !ours => {
                controls.delete(instance.service(), instance.id());
            }
            Defect::ClaimIgnored => options.claim = Incarnation::new(1),
            Defect::LeftIdsAreBurnt if self.shared.left.lock().unwrap().contains(instance.id()) => {
                return Err(Error::new(
                    ErrorKind::AlreadyRegistered,
                    Operation::Register,
                    "it was there once",
                ));
            }
            Defect::IdsAreOfTheStore => {
                let others = self.shared.known.lock().unwrap().clone();
                for (service, id) in others.keys() {
                    if id == instance.id() && service != instance.service() {
                        controls.delete(service, id);
                    }
                }
            }
            Defect::NamesInLowerCase => {
                let id = instance.id().as_str().to_lowercase();
                instance = instance.to_builder().id(id).build()?;
            }
            Defect::EndpointsSorted => {
                let mut endpoints = instance.endpoints().to_vec();
                endpoints.sort();
                let builder = instance.to_builder().clear_endpoints();
                instance = endpoints
                    .into_iter()
                    .fold(builder, |b, endpoint| b.endpoint(endpoint.to_string()))
                    .build()?;
            }
            Defect::TextBecomesAscii => {
                let mut builder = instance.to_builder();
                for (key, value) in instance.metadata() {
                    builder = builder.metadata(key, value.replace(|c: char| !c.is_ascii(), "?"));
                }
                instance = builder.build()?;
            }
            Defect::LimitsLowered
                if instance.metadata().values().map(String::len).sum::<usize>() > 16_000 =>
            {
                return Err(Error::invalid("instance", "is too large"));
            }
            Defect::NoIpv6 if instance.endpoint().host().starts_with('[') => {
                return Err(Error::invalid("endpoint", "is not IPv4"));
            }
            Defect::MinTtlOverclaimed => options.ttl = options.ttl.max(Ttl::from_secs(5)?),
            Defect::LessGranted => options.ttl = Ttl::MIN,
            Defect::SomeNeverExpire if self.shared.registered.fetch_add(1, Ordering::Relaxed) % 50 == 49 => {
                options.ttl = Ttl::MAX;
            }
            _ => {}
        }
        let result = inner.register(&instance, &options).await;
        if self.is(Defect::RefusedYetWritten) && result.is_err() {
            let _ = self
                .shared
                .store
                .register(&instance, &options.clone().with_on_conflict(OnConflict::TakeOver))
                .await;
        }
        let mut registration = result?;
        let known = Known {
            instance: instance.clone(),
            options: options.clone(),
            registration: registration.clone(),
            beats: 0,
        };
        self.remember(known);
        let expire_after = match self.shared.defect {
            Defect::CleanerDoesNotCompare => Some(registration.ttl.get() - Duration::from_millis(1)),
            Defect::EarlyExpiry => Some(registration.ttl.get().mul_f64(0.8)),
            _ => None,
        };
        if let Some(after) = expire_after {
            let (service, id) = (instance.service().clone(), instance.id().clone());
            let early = self.is(Defect::EarlyExpiry);
            let (shared, key) = (Arc::clone(&self.shared), registration.lease.key());
            tokio::spawn(async move {
                sleep(after).await;
                let known = shared.known.lock().unwrap().get(&(service.clone(), id.clone())).cloned();
                let same =
                    known.is_some_and(|known| known.registration.lease.key() == key && known.beats == 0);
                if !early || same {
                    controls.expire(&service, &id);
                }
            });
        }
        if self.is(Defect::WrongRevision) {
            registration.revision = Revision::new(registration.revision.get() + 1);
        }
        Ok(registration)
    }

    async fn do_keepalive(&self, lease: &Lease) -> Result<()> {
        let known = self.known(lease);
        let lost = |error: &Error| error.kind() == ErrorKind::LeaseLost;
        if let Some(known) =
            self.shared.known.lock().unwrap().get_mut(&(lease.service().clone(), lease.id().clone()))
        {
            known.beats += 1;
        }
        match self.shared.defect {
            Defect::HeartbeatIsNotFenced => {
                let newest = known.map_or_else(|| lease.clone(), |known| known.registration.lease);
                return self.inner.keepalive(&newest).await;
            }
            Defect::HeartbeatDoesNothing => {
                if self.inner.lookup(lease.service()).await?.get(lease.id()).is_some() {
                    return Ok(());
                }
            }
            Defect::HeartbeatOptimistic => {
                return match timeout(Duration::from_millis(100), self.inner.keepalive(lease)).await {
                    Ok(Err(error)) if lost(&error) => Err(error),
                    _ => Ok(()),
                };
            }
            Defect::HeartbeatsAddUp => {
                self.inner.keepalive(lease).await?;
                if let Some(known) = known {
                    let sum = Ttl::new(known.registration.ttl.get() * (known.beats + 2))?;
                    self.inner.register(&known.instance, &known.options.with_ttl(sum)).await?;
                }
                return Ok(());
            }
            Defect::OneExpiryForAll => {
                let all: Vec<_> = self.shared.known.lock().unwrap().values().cloned().collect();
                for sibling in
                    all.iter().filter(|known| known.registration.lease.service() == lease.service())
                {
                    let _ = self.inner.keepalive(&sibling.registration.lease).await;
                }
            }
            Defect::FullRefusesHeartbeats if self.shared.full.load(Ordering::Relaxed) => {
                return Err(Error::new(ErrorKind::StoreFull, Operation::Keepalive, "no room for a deadline"));
            }
            _ => {}
        }
        let result = self.of(lease.service()).keepalive(lease).await;
        match (self.shared.defect, result) {
            (Defect::HeartbeatNeverLost, Err(error)) if lost(&error) => Ok(()),
            (Defect::HeartbeatBringsBack, Err(error)) if lost(&error) => {
                let Some(known) = known else { return Err(error) };
                let absent = self.inner.lookup(lease.service()).await?.get(lease.id()).is_none();
                if !absent {
                    return Err(error);
                }
                self.inner.register(&known.instance, &known.options).await.map(|_| ())
            }
            (Defect::HeartbeatIsNews, Ok(())) => {
                if let Some(known) = known {
                    self.inner.update(lease, &known.instance).await?;
                }
                Ok(())
            }
            (_, result) => result,
        }
    }

    async fn do_update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let known = self.known(lease);
        match self.shared.defect {
            Defect::UpdateIsDeleteAndPut => {
                self.inner.update(lease, instance).await?;
                self.shared.store.controls().delete(lease.service(), lease.id());
                let options = known.map(|known| known.options).unwrap_or_default();
                return Ok(self.inner.register(instance, &options).await?.revision);
            }
            Defect::UpdateIsNotFenced => {
                let newest = known.map_or_else(|| lease.clone(), |known| known.registration.lease);
                return self.inner.update(&newest, instance).await;
            }
            Defect::OnlyAddressesCount => {
                let listed = self.inner.lookup(lease.service()).await?;
                if let Some(entry) = listed.get(lease.id())
                    && entry.instance().endpoints() == instance.endpoints()
                    && entry.instance().status() == Status::Up
                {
                    self.inner.keepalive(lease).await?;
                    return Ok(entry.modified());
                }
            }
            Defect::UpdateRenews => self.inner.keepalive(lease).await?,
            Defect::UpdateOfOthers
                if instance.id() != lease.id() || instance.service() != lease.service() =>
            {
                return Ok(self.inner.register(instance, &RegisterOptions::new()).await?.revision);
            }
            Defect::UpdateToTheSameFails => {
                if known.is_some_and(|known| known.instance == *instance) {
                    return Err(Error::new(ErrorKind::LeaseLost, Operation::Update, "nothing was changed"));
                }
            }
            _ => {}
        }
        let revision = self.of(lease.service()).update(lease, instance).await?;
        if let Some(known) =
            self.shared.known.lock().unwrap().get_mut(&(lease.service().clone(), lease.id().clone()))
        {
            known.instance = instance.clone();
        }
        Ok(revision)
    }

    async fn do_deregister(&self, lease: &Lease) -> Result<()> {
        self.shared.left.lock().unwrap().push(lease.id().clone());
        let controls = self.shared.store.controls();
        match self.shared.defect {
            Defect::LeavingByKey => {
                self.inner.deregister(lease).await?;
                controls.delete(lease.service(), lease.id());
                Ok(())
            }
            Defect::LeavingTwiceFails => {
                self.inner.keepalive(lease).await?;
                self.inner.deregister(lease).await
            }
            Defect::LeavingTakesAll => {
                self.inner.deregister(lease).await?;
                for entry in self.inner.lookup(lease.service()).await?.iter() {
                    controls.delete(lease.service(), entry.id());
                }
                Ok(())
            }
            Defect::LeavingDoesNothing => Ok(()),
            Defect::LeavingIsAnExpiry => {
                if self.inner.keepalive(lease).await.is_ok() {
                    controls.expire(lease.service(), lease.id());
                }
                Ok(())
            }
            Defect::LeavingIsOptimistic => {
                let _ = timeout(Duration::from_millis(100), self.inner.deregister(lease)).await;
                Ok(())
            }
            _ => self.of(lease.service()).deregister(lease).await,
        }
    }

    async fn do_lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.shared.lookups.fetch_add(1, Ordering::Relaxed);
        let found = self.of(service).lookup(service).await;
        match self.shared.defect {
            Defect::OutageLooksEmpty => {
                if let Err(error) = &found
                    && error.kind() == ErrorKind::Unavailable
                {
                    let cursor = self.shared.store.lookup(service).await?.cursor();
                    return Ok(Snapshot::new(service.clone(), cursor, []));
                }
                found
            }
            Defect::LinearizableOverclaimed => {
                let mut cache = self.shared.cache.lock().unwrap();
                let found = found?;
                let (_, cached) = cache
                    .entry(service.clone())
                    .and_modify(|(at, cached)| {
                        if at.elapsed() > Duration::from_millis(100) {
                            (*at, *cached) = (Instant::now(), found.clone());
                        }
                    })
                    .or_insert_with(|| (Instant::now(), found.clone()));
                Ok(cached.clone())
            }
            Defect::UnknownServiceIsAnError => {
                let never = !self.shared.names.lock().unwrap().contains(service);
                if never {
                    Err(Error::new(ErrorKind::Unsupported, Operation::Lookup, "no such service"))
                } else {
                    found
                }
            }
            Defect::FirstPageOnly => {
                let found = found?;
                let page: Vec<_> = found.iter().take(100).cloned().collect();
                Ok(Snapshot::new(service.clone(), found.cursor(), page))
            }
            Defect::LookupCursorBehind => {
                let found = found?;
                let before = Revision::new(found.revision().get().saturating_sub(1));
                let cursor = Cursor::new(found.epoch(), before, found.cursor().proof());
                Ok(Snapshot::new(service.clone(), cursor, found.iter().cloned()))
            }
            Defect::PrefixMatches | Defect::ServicesMix => {
                let found = found?;
                let mut all: Vec<_> = found.iter().cloned().collect();
                let prefix = if self.is(Defect::ServicesMix) { "" } else { service.as_str() };
                for name in self.inner.services(prefix).await? {
                    all.extend(self.inner.lookup(&name).await?.iter().cloned());
                }
                Ok(Snapshot::new(service.clone(), found.cursor(), all))
            }
            _ => found,
        }
    }

    async fn do_services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let mut found = self.inner.services(prefix).await?;
        match self.shared.defect {
            Defect::ServicesUnordered => found.reverse(),
            Defect::PrefixAnywhere => {
                found = self.inner.services("").await?;
                found.retain(|name| name.as_str().contains(prefix));
            }
            Defect::EmptyServicesListed => {
                found = self.shared.names.lock().unwrap().clone();
                found.retain(|name| name.as_str().starts_with(prefix));
                found.sort();
                found.dedup();
            }
            _ => {}
        }
        Ok(found)
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
