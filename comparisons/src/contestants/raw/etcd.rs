//! A key for each instance, all on one lease, and a watch of their prefix.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, EventType, GetOptions, KeyValue, PutOptions, WatchOptions};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::{padded, parse};
use crate::contestants::naive::watching;
use crate::contestants::{Contestant, Listed, Member, Seen, Watching};
use crate::experiment::Trouble;

/// `put` with a lease, and `watch`.
#[derive(Clone)]
pub struct RawEtcd {
    client: Client,
    lease: Arc<Mutex<Shared>>,
}

/// The one lease, while someone holds it.
#[derive(Debug, Default)]
struct Shared {
    lease: Option<i64>,
    members: usize,
}

impl fmt::Debug for RawEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEtcd").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl RawEtcd {
    /// By this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, lease: Arc::default() }
    }

    /// By the member at `endpoint`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(endpoint: &str) -> Result<Self, etcd_client::Error> {
        Ok(Self::new(Client::connect([endpoint], None).await?))
    }

    async fn load(&self, service: &str) -> Result<(Listed, i64), etcd_client::Error> {
        let all = GetOptions::new().with_prefix();
        let found = self.client.kv_client().get(prefix(service), Some(all)).await?;
        let revision = found.header().map_or(0, etcd_client::ResponseHeader::revision);
        let listed = found.kvs().iter().filter_map(|kv| {
            let (id, value) = read(service, kv)?;
            Some((id, value?))
        });
        Ok((listed.collect(), revision))
    }

    async fn follow(&self, service: &str, told: &UnboundedSender<Seen>) -> Result<(), Trouble> {
        let (listed, revision) = self.load(service).await?;
        let _ = told.send(Seen::List { listed, gap: false });
        let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let mut watch = self.client.watch_client().watch(prefix(service), Some(options)).await?;
        while let Some(answer) = watch.message().await? {
            for event in answer.events() {
                let Some((id, value)) = event.kv().and_then(|kv| read(service, kv)) else { continue };
                let value = value.filter(|_| event.event_type() == EventType::Put);
                let _ = told.send(Seen::Change { id, value });
            }
        }
        Err(Trouble::failed("the watch ended"))
    }
}

fn prefix(service: &str) -> String {
    format!("{service}/")
}

fn read(service: &str, kv: &KeyValue) -> Option<(String, Option<u64>)> {
    let id = kv.key_str().ok()?.strip_prefix(&prefix(service))?.to_owned();
    Some((id, kv.value_str().ok().and_then(parse)))
}

#[async_trait]
impl Contestant for RawEtcd {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let lease = {
            let mut shared = self.lease.lock().await;
            let lease = match shared.lease {
                Some(lease) => lease,
                None => {
                    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
                    self.client.lease_client().grant(seconds, None).await?.id()
                }
            };
            shared.lease = Some(lease);
            shared.members += 1;
            lease
        };
        let key = format!("{}{id}", prefix(service));
        let member = RawMember { client: self.client.clone(), key, lease, shared: Arc::clone(&self.lease) };
        member.set(value).await?;
        Ok(Box::new(member))
    }

    fn watch(&self, service: &str) -> Watching {
        let (told, telling) = tokio::sync::mpsc::unbounded_channel();
        let (on, service) = (self.clone(), service.to_owned());
        let task = tokio::spawn(async move {
            if let Err(trouble) = on.follow(&service, &told).await {
                let _ = told.send(Seen::Trouble(trouble.to_string()));
            }
        });
        watching(telling, task)
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        Ok(self.load(service).await?.0)
    }
}

struct RawMember {
    client: Client,
    key: String,
    lease: i64,
    shared: Arc<Mutex<Shared>>,
}

#[async_trait]
impl Member for RawMember {
    async fn renew(&self) -> Result<(), Trouble> {
        let (mut keeper, mut answers) = self.client.lease_client().keep_alive(self.lease).await?;
        keeper.keep_alive().await?;
        match answers.message().await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            _ => Err(Trouble::failed("the lease is lost")),
        }
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let options = PutOptions::new().with_lease(self.lease);
        self.client.kv_client().put(self.key.clone(), padded(value), Some(options)).await?;
        Ok(())
    }

    async fn leave(&self) -> Result<(), Trouble> {
        self.client.kv_client().delete(self.key.clone(), None).await?;
        // The last one leaves no lease behind.
        let mut shared = self.shared.lock().await;
        shared.members = shared.members.saturating_sub(1);
        if shared.members == 0
            && let Some(lease) = shared.lease.take()
        {
            self.client.lease_client().revoke(lease).await?;
        }
        Ok(())
    }
}
