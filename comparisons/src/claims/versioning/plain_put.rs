//! A registry on etcd as it is often written, too: put under a lease of one's own, without a transaction.

use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, GetOptions, PutOptions};
use futures_util::stream;

use crate::contestants::{Contestant, Listed, Member, Seen, Watching};
use crate::experiment::Trouble;

/// `service/id` holds the value, under a lease of the process; a heartbeat keeps the lease, a change is a put, leaving revokes the lease.
pub(super) struct PlainPut {
    client: Client,
}

impl PlainPut {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

/// Where an instance lies.
fn key(service: &str, id: &str) -> String {
    format!("{service}/{id}")
}

#[async_trait]
impl Contestant for PlainPut {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let lease = self.client.clone().lease_grant(seconds, None).await?.id();
        let member = PlainMember { client: self.client.clone(), key: key(service, id), lease };
        member.set(value).await?;
        Ok(Box::new(member))
    }

    /// Nobody watches here: [`raw`](super::raw) does, from a revision.
    fn watch(&self, _service: &str) -> Watching {
        Box::pin(stream::iter([Seen::Trouble("not watched".to_owned())]))
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        let prefix = key(service, "");
        let found = self.client.clone().get(prefix.as_str(), Some(GetOptions::new().with_prefix())).await?;
        let entry = |kv: &etcd_client::KeyValue| {
            let id = kv.key_str().ok()?.strip_prefix(&prefix)?.to_owned();
            Some((id, kv.value_str().ok()?.parse().ok()?))
        };
        Ok(found.kvs().iter().filter_map(entry).collect())
    }
}

struct PlainMember {
    client: Client,
    key: String,
    lease: i64,
}

#[async_trait]
impl Member for PlainMember {
    async fn renew(&self) -> Result<(), Trouble> {
        // The first heartbeat is part of opening the stream, and an error if the lease is gone.
        self.client.clone().lease_keep_alive(self.lease).await?;
        Ok(())
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let options = PutOptions::new().with_lease(self.lease);
        self.client.clone().put(self.key.as_str(), value.to_string(), Some(options)).await?;
        Ok(())
    }

    async fn leave(&self) -> Result<(), Trouble> {
        self.client.clone().lease_revoke(self.lease).await?;
        Ok(())
    }
}
