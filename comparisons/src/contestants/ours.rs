//! What is behind the `Registry` trait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use registry_core::{
    Change, Instance, Lease, RegisterOptions, Registry, ResetCause, ServiceName, Snapshot, Ttl, WatchEvent,
};

use super::{Contestant, Listed, Member, Seen, Watching};
use crate::experiment::Trouble;

/// A registry of this project.
#[derive(Clone, Debug)]
pub struct Ours {
    registry: Arc<dyn Registry>,
}

/// Under which name an instance carries its value.
const VALUE: &str = "value";

impl Ours {
    /// The registry `registry`.
    pub fn new(registry: impl Registry + 'static) -> Self {
        Self { registry: Arc::new(registry) }
    }

    /// The same, of one that is shared.
    #[must_use]
    pub fn of(registry: Arc<dyn Registry>) -> Self {
        Self { registry }
    }

    /// The registry itself.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }
}

/// The instance that stands for `id` with `value`.
///
/// # Errors
/// For names that no registry takes.
pub fn instance(service: &str, id: &str, value: u64) -> registry_core::Result<Instance> {
    let instance = Instance::builder(service).id(id).endpoint("127.0.0.1:1");
    instance.metadata(VALUE, value.to_string()).build()
}

/// The value of an instance; 0 if someone else wrote it.
#[must_use]
pub fn value(instance: &Instance) -> u64 {
    instance.metadata().get(VALUE).and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn listed(snapshot: &Snapshot) -> Listed {
    snapshot.iter().map(|entry| (entry.id().to_string(), value(entry.instance()))).collect()
}

fn seen(event: WatchEvent) -> Vec<Seen> {
    match event {
        WatchEvent::Reset { snapshot, cause } => {
            vec![Seen::List { listed: listed(&snapshot), gap: cause != ResetCause::First }]
        }
        WatchEvent::Changes(batch) => {
            let change = |change| match change {
                Change::Put(entry) => {
                    Seen::Change { id: entry.id().to_string(), value: Some(value(entry.instance())) }
                }
                Change::Delete { id, .. } => Seen::Change { id: id.to_string(), value: None },
                other => Seen::Trouble(format!("an unknown change: {other:?}")),
            };
            batch.changes.into_iter().map(change).collect()
        }
        WatchEvent::Stale { error, .. } => vec![Seen::Trouble(error.to_string())],
        WatchEvent::Live { .. } => vec![Seen::Recovered],
        _ => Vec::new(),
    }
}

#[async_trait]
impl Contestant for Ours {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let instance = instance(service, id, value)?;
        let options = RegisterOptions::new().with_ttl(Ttl::new(ttl)?);
        let registered = self.registry.register(&instance, &options).await?;
        Ok(Box::new(OurMember { registry: Arc::clone(&self.registry), instance, lease: registered.lease }))
    }

    fn watch(&self, service: &str) -> Watching {
        match ServiceName::new(service) {
            Ok(service) => Box::pin(self.registry.watch(&service, None).map(seen).flat_map(stream::iter)),
            Err(error) => Box::pin(stream::iter([Seen::Trouble(error.to_string())])),
        }
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        Ok(listed(&self.registry.lookup(&ServiceName::new(service)?).await?))
    }
}

struct OurMember {
    registry: Arc<dyn Registry>,
    instance: Instance,
    lease: Lease,
}

#[async_trait]
impl Member for OurMember {
    async fn renew(&self) -> Result<(), Trouble> {
        Ok(self.registry.keepalive(&self.lease).await?)
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let instance = self.instance.to_builder().metadata(VALUE, value.to_string()).build()?;
        self.registry.update(&self.lease, &instance).await?;
        Ok(())
    }

    async fn leave(&self) -> Result<(), Trouble> {
        Ok(self.registry.deregister(&self.lease).await?)
    }
}
