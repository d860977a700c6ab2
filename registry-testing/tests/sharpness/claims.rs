//! Defects in claiming an id and keeping it: `register` and `keepalive`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_core::{
    Error, ErrorKind, Incarnation, Instance, Lease, OnConflict, Operation, OwnerToken, RegisterOptions,
    Registration, Registry, Result, Revision, Ttl,
};
use tokio::time::{sleep, timeout};

use crate::defect::Defect;
use crate::registry::{Broken, Known};

impl Broken {
    pub(crate) async fn do_register(
        &self,
        instance: &Instance,
        asked: &RegisterOptions,
    ) -> Result<Registration> {
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
                if instance.metadata().iter().map(|(_, value)| value.len()).sum::<usize>() > 16_000 =>
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

    pub(crate) async fn do_keepalive(&self, lease: &Lease) -> Result<()> {
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
            Defect::HeartbeatDoesNothing
                if self.inner.lookup(lease.service()).await?.get(lease.id()).is_some() =>
            {
                return Ok(());
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
}
