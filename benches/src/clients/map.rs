//! A map behind a mutex: what somebody writes who needs a registry within one process, and nothing of what one promises.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use comparisons::experiment::Trouble;
use registry_core::Instance;
use tokio::time::Instant;

use super::{Client, ttl};

/// Instances by service and id, each with the time at which its lease ends; nobody looks whether that is past, and nobody is told of changes.
#[derive(Clone, Debug, Default)]
pub struct InMap {
    services: Arc<Mutex<Services>>,
}

type Services = HashMap<String, BTreeMap<String, Listed>>;

#[derive(Debug)]
struct Listed {
    instance: Arc<Instance>,
    ends: Instant,
}

/// Of whom it is.
#[derive(Clone, Debug)]
pub struct InMapLease {
    service: String,
    id: String,
}

impl InMap {
    fn with<T>(&self, work: impl FnOnce(&mut Services) -> T) -> T {
        work(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, lease: &InMapLease, change: impl FnOnce(&mut Listed)) -> Result<(), Trouble> {
        self.with(|services| {
            let listed = services.get_mut(&lease.service).and_then(|service| service.get_mut(&lease.id));
            listed.map(change).ok_or_else(|| Trouble::failed("the instance is not listed"))
        })
    }
}

impl Client for InMap {
    type Published = Arc<Instance>;
    type Lease = InMapLease;

    fn publish(&self, instance: &Instance) -> Arc<Instance> {
        Arc::new(instance.clone())
    }

    async fn register(&mut self, published: &Arc<Instance>) -> Result<InMapLease, Trouble> {
        let lease = InMapLease { service: published.service().to_string(), id: published.id().to_string() };
        let listed = Listed { instance: Arc::clone(published), ends: Instant::now() + ttl().get() };
        self.with(|services| {
            services.entry(lease.service.clone()).or_default().insert(lease.id.clone(), listed);
        });
        Ok(lease)
    }

    async fn keepalive(&mut self, lease: &InMapLease) -> Result<(), Trouble> {
        let ends = Instant::now() + ttl().get();
        self.change(lease, |listed| listed.ends = listed.ends.max(ends))
    }

    async fn update(&mut self, lease: &mut InMapLease, published: &Arc<Instance>) -> Result<(), Trouble> {
        self.change(lease, |listed| listed.instance = Arc::clone(published))
    }

    async fn deregister(&mut self, lease: InMapLease) -> Result<(), Trouble> {
        self.with(|services| {
            let removed = services.get_mut(&lease.service).and_then(|service| service.remove(&lease.id));
            removed.map(drop).ok_or_else(|| Trouble::failed("the instance is not listed"))
        })
    }

    async fn lookup(&mut self, service: &str) -> Result<usize, Trouble> {
        let listed: Vec<_> = self.with(|services| {
            let listed = services.get(service).into_iter().flat_map(BTreeMap::values);
            listed.map(|listed| Arc::clone(&listed.instance)).collect()
        });
        Ok(black_box(listed).len())
    }
}

#[cfg(test)]
mod tests {
    use super::InMap;
    use crate::clients::{Client, instance};

    #[tokio::test]
    async fn it_lists_what_was_registered_until_that_leaves() {
        let mut client = InMap::default();
        let version = |weight| client.publish(&instance("user.rpc", 1, weight).unwrap());
        let (published, changed) = (version(100), version(101));
        let mut lease = client.register(&published).await.unwrap();
        client.keepalive(&lease).await.unwrap();
        client.update(&mut lease, &changed).await.unwrap();
        assert_eq!(client.lookup("user.rpc").await.unwrap(), 1);
        client.deregister(lease.clone()).await.unwrap();
        assert_eq!(client.lookup("user.rpc").await.unwrap(), 0);
        assert!(client.keepalive(&lease).await.is_err() && client.deregister(lease).await.is_err());
    }
}
