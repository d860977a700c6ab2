//! Anything behind the `Registry` trait.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use registry_core::{Cursor, Instance, Lease, OnConflict, RegisterOptions, Registry, ServiceName, Ttl};

use super::words::{answer, heard, listed, position};
use super::{Answer, Client, Hearing, Held, How, Read, Recorded};
use crate::contestants::instance;

/// A registry of this project.
#[derive(Debug)]
pub struct Ours {
    registry: Arc<Recorded>,
    service: ServiceName,
    ttl: Ttl,
}

impl Ours {
    /// A client of `service`, who registers for `ttl`.
    #[must_use]
    pub fn new(registry: Recorded, service: ServiceName, ttl: Ttl) -> Self {
        Self { registry: Arc::new(registry), service, ttl }
    }
}

#[async_trait]
impl Client for Ours {
    async fn register(&self, id: &str, value: u64, how: How) -> Option<Box<dyn Held>> {
        let instance = instance(self.service.as_str(), id, value).ok()?;
        let on_conflict = match how {
            How::TakeOver => OnConflict::TakeOver,
            How::Reclaim => OnConflict::Reclaim,
        };
        let options = RegisterOptions::new().with_ttl(self.ttl).with_on_conflict(on_conflict);
        let registered = self.registry.register(&instance, &options).await.ok()?;
        Some(Box::new(OurHeld { registry: Arc::clone(&self.registry), instance, lease: registered.lease }))
    }

    async fn list(&self) -> Option<Read> {
        let snapshot = self.registry.lookup(&self.service).await.ok()?;
        let position = Some(position(snapshot.cursor()));
        Some(Read { position, listed: listed(&snapshot), skipped: snapshot.skipped() })
    }

    fn watch(&self, from: Option<Cursor>) -> Hearing {
        let events = self.registry.watch(&self.service, from);
        Box::pin(events.filter_map(|event| ready(heard(&event))))
    }
}

struct OurHeld {
    registry: Arc<Recorded>,
    instance: Instance,
    lease: Lease,
}

#[async_trait]
impl Held for OurHeld {
    async fn renew(&self) -> Answer {
        answer(self.registry.keepalive(&self.lease).await)
    }

    async fn set(&self, value: u64) -> Answer {
        match self.instance.to_builder().metadata("value", value.to_string()).build() {
            Ok(instance) => answer(self.registry.update(&self.lease, &instance).await),
            Err(_) => Answer::Error,
        }
    }

    async fn leave(&self) -> Answer {
        answer(self.registry.deregister(&self.lease).await)
    }
}
