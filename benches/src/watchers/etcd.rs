//! etcd by its client library: `put`, or the transaction of the registry's updates, and a watch of the prefix.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::contestants::{Contestant, Listed, Member, Seen, Watching, instance};
use comparisons::experiment::Trouble;
use etcd_client::{Client, Event, EventType, GetOptions, WatchOptions, WatchStream};
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, RwLock};

use super::{VALUE, value_in};
use crate::clients::{Client as _, Entry, RawEtcd, RawEtcdLease};

/// By what a change is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// A plain `put` with a lease, which compares nothing.
    Put,
    /// The transaction of the registry's updates, which writes only what is still the writer's own.
    Fenced,
}

/// Changes, and a watch that begins now.
#[derive(Clone)]
pub struct PutAndWatch {
    client: Client,
    write: Write,
    /// Held while a watch is opened: what is registered before etcd has taken it, such a watch never tells. One that is asked for while somebody registers, or while
    /// another one is opened, holds up nobody.
    opening: Arc<RwLock<()>>,
}

impl PutAndWatch {
    /// By the member at `endpoint`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(endpoint: &str) -> Result<Self, Trouble> {
        let client = Client::connect([endpoint], None).await?;
        Ok(Self { client, write: Write::Put, opening: Arc::default() })
    }

    /// The same, which writes by the transaction of the registry's updates.
    #[must_use]
    pub fn fenced(mut self) -> Self {
        self.write = Write::Fenced;
        self
    }

    /// A watch of `service` that tells what happens from now on: etcd has taken it when this returns.
    ///
    /// # Errors
    /// What etcd refuses.
    pub async fn open(&self, service: &str) -> Result<WatchStream, Trouble> {
        let (start, end) = RawEtcd::range(service);
        let options = WatchOptions::new().with_range(end);
        let mut watch = self.client.watch_client().watch(start, Some(options)).await?;
        match watch.message().await? {
            Some(created) if created.created() => Ok(watch),
            _ => Err(Trouble::failed("etcd has not taken the watch")),
        }
    }

    /// The values of what was put, as a watch tells them.
    pub(crate) fn values(event: &Event) -> Option<(&str, Option<u64>)> {
        let kv = event.kv()?;
        let id = kv.key_str().ok()?.rsplit('/').next()?;
        let value = (event.event_type() == EventType::Put).then(|| value_in(kv.value())).flatten();
        Some((id, value))
    }
}

impl fmt::Debug for PutAndWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutAndWatch").finish_non_exhaustive()
    }
}

async fn told(mut watch: WatchStream) -> Option<(Vec<Seen>, WatchStream)> {
    let answer = watch.message().await.ok()??;
    let change = |event: &Event| {
        let (id, value) = PutAndWatch::values(event)?;
        Some(Seen::Change { id: id.to_owned(), value })
    };
    Some((answer.events().iter().filter_map(change).collect(), watch))
}

#[async_trait]
impl Contestant for PutAndWatch {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        _: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        drop(self.opening.read().await);
        let (write, entry) = (self.write, Entry::of(&instance(service, id, value)?));
        let mut client = RawEtcd::of(&self.client);
        let lease = client.register(&entry).await?;
        Ok(Box::new(Writer { write, entry, state: Mutex::new((client, lease)) }))
    }

    fn watch(&self, service: &str) -> Watching {
        let (this, service) = (self.clone(), service.to_owned());
        let opening = Arc::clone(&self.opening).try_write_owned();
        // In a task of its own, so that it comes to an end also where who registers waits for it and nobody reads yet.
        let opened = tokio::spawn(async move {
            let opened = this.open(&service).await;
            drop(opening);
            opened
        });
        let events = async move {
            match opened.await.unwrap_or_else(|error| Err(Trouble::Failed(Box::new(error)))) {
                Ok(watch) => stream::unfold(watch, told).flat_map(stream::iter).left_stream(),
                Err(trouble) => stream::iter([Seen::Trouble(trouble.to_string())]).right_stream(),
            }
        };
        Box::pin(stream::once(events).flatten())
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        let (start, end) = RawEtcd::range(service);
        let found = self.client.kv_client().get(start, Some(GetOptions::new().with_range(end))).await?;
        let listed = found.kvs().iter().filter_map(|kv| {
            Some((kv.key_str().ok()?.rsplit('/').next()?.to_owned(), value_in(kv.value())?))
        });
        Ok(listed.collect())
    }
}

/// An instance, and who may change it.
struct Writer {
    write: Write,
    entry: Entry,
    state: Mutex<(RawEtcd, RawEtcdLease)>,
}

#[async_trait]
impl Member for Writer {
    async fn renew(&self) -> Result<(), Trouble> {
        Err(Trouble::failed("leases last longer than what is measured"))
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let mut entry = self.entry.clone();
        entry.metadata.insert(VALUE.to_owned(), value.to_string());
        let (client, lease) = &mut *self.state.lock().await;
        match self.write {
            Write::Put => client.put(lease, &entry).await,
            Write::Fenced => client.update(lease, &entry).await,
        }
    }

    async fn leave(&self) -> Result<(), Trouble> {
        let (client, lease) = &mut *self.state.lock().await;
        client.deregister(lease.clone()).await
    }
}
