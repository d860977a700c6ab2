//! Which services have instances: an index of names, written with each registration and repaired by heartbeats, and a look at each.
//!
//! The index lies in one slot and each service in its own, so no change of both is atomic. A name may be in it without instances, which the
//! look shows; one that has instances is missing only while its first registration is under way or was cut off, and after the index alone was lost, until the next touch.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use redis::{Value, cmd};
use registry_core::{ErrorKind, Incarnation, Operation, Result, ServiceName};
use tokio::time::Instant;

use crate::layout;
use crate::link::text;
use crate::registry::RedisRegistry;
use crate::script;

/// How often the names of services with heartbeats are written anew.
const TOUCH: Duration = Duration::from_secs(10);
/// A name without instances is taken out when it was not touched for so long, in milliseconds.
const DESERTED: u64 = 60 * 60 * 1_000;
/// So many services are looked at at a time.
const LOOKS: usize = 64;
/// Names in one answer.
const PAGE: usize = 1_000;
const REMEMBERED: usize = 100_000;

/// When names were last written, by this client.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    at: Mutex<BTreeMap<ServiceName, Instant>>,
}

impl Touched {
    fn is_due(&self, service: &ServiceName) -> bool {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.get(service).is_none_or(|at| at.elapsed() >= TOUCH)
    }

    fn done(&self, service: &ServiceName) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.len() >= REMEMBERED {
            at.retain(|_, at| at.elapsed() < TOUCH);
        }
        at.insert(service.clone(), Instant::now());
    }
}

impl RedisRegistry {
    /// Writes the name of a service into the index.
    pub(crate) async fn enlist(&self, service: &ServiceName, operation: Operation) -> Result<()> {
        let key = layout::index(&self.options().prefix);
        let mut add = cmd("ZADD");
        add.arg(&key).arg(Incarnation::now().get()).arg(service.as_str());
        self.connection().command(operation, layout::slot(key.as_bytes()), add).await?;
        self.touched().done(service);
        Ok(())
    }

    /// The same in the background, where it is time for that.
    pub(crate) fn touch(&self, service: &ServiceName) {
        if !self.touched().is_due(service) {
            return;
        }
        self.touched().done(service);
        let (this, service) = (self.clone(), service.clone());
        tokio::spawn(async move {
            if let Err(error) = this.enlist(&service, Operation::Keepalive).await {
                tracing::debug!(%service, %error, "the index of services could not be written");
            }
        });
    }

    pub(crate) async fn names(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let listed = self.listed(prefix).await?;
        let looks = stream::iter(listed).map(|(name, touched)| async move {
            let there = match self.has_instances(&name).await {
                // What others wrote there is no reason to hide the other services.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(service = %name, %error, "skipped a service that cannot be read");
                    return Ok(None);
                }
                there => there?,
            };
            if !there {
                self.forget(&name, touched).await;
            }
            Ok(there.then_some(name))
        });
        let looks: Vec<Result<Option<ServiceName>>> = looks.buffer_unordered(LOOKS).collect().await;
        let mut names = Vec::new();
        for look in looks {
            names.extend(look?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// What the index says: names, and when they were touched.
    async fn listed(&self, prefix: &str) -> Result<Vec<(ServiceName, u64)>> {
        let key = layout::index(&self.options().prefix);
        let mut names = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("ZSCAN");
            scan.arg(&key).arg(&cursor).arg("COUNT").arg(PAGE);
            let answer =
                self.connection().command(Operation::Services, layout::slot(key.as_bytes()), scan).await?;
            let parts = answer.as_sequence().unwrap_or_default();
            for pair in parts.get(1).and_then(Value::as_sequence).unwrap_or_default().chunks_exact(2) {
                let name = text(&pair[0]).and_then(|name| ServiceName::new(name).ok());
                let touched = text(&pair[1]).and_then(|score| score.parse().ok());
                if let (Some(name), Some(touched)) = (name, touched)
                    && name.as_str().starts_with(prefix)
                {
                    names.push((name, touched));
                }
            }
            match parts.first().and_then(text) {
                Some(next) if next != "0" => cursor = next,
                _ => return Ok(names),
            }
        }
    }

    async fn has_instances(&self, service: &ServiceName) -> Result<bool> {
        let state = self.state(service, 0, Operation::Services).await?;
        if state.listed == 0 || state.due != Some(Duration::ZERO) {
            return Ok(state.listed > 0);
        }
        Ok(self.swept(service, 0, Operation::Services).await?.listed > 0)
    }

    /// Takes out a name that nobody has used for long.
    async fn forget(&self, service: &ServiceName, touched: u64) {
        if Incarnation::now().get().saturating_sub(touched) < DESERTED {
            return;
        }
        let key = layout::index(&self.options().prefix);
        let mut forget = script::FORGET.call_with_text(&[[key.as_str()]]);
        forget.arg(service.as_str()).arg(touched);
        let slot = layout::slot(key.as_bytes());
        if let Err(error) = self.connection().command(Operation::Services, slot, forget).await {
            tracing::debug!(%service, %error, "a name without instances stays in the index");
        }
    }
}
