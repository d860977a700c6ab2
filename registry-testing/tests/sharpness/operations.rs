//! Defects in the other operations.

use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_core::{
    Cursor, Error, ErrorKind, Instance, Lease, Operation, RegisterOptions, Registry, Result, Revision,
    ServiceName, Snapshot, Status,
};
use tokio::time::{Instant, timeout};

use crate::defect::Defect;
use crate::registry::Broken;

impl Broken {
    pub(crate) async fn do_update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
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
            Defect::UpdateToTheSameFails if known.is_some_and(|known| known.instance == *instance) => {
                return Err(Error::new(ErrorKind::LeaseLost, Operation::Update, "nothing was changed"));
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

    pub(crate) async fn do_deregister(&self, lease: &Lease) -> Result<()> {
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

    pub(crate) async fn do_lookup(&self, service: &ServiceName) -> Result<Snapshot> {
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

    pub(crate) async fn do_services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
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
