//! Opening one connection's worth of a watch.

use async_trait::async_trait;
use etcd_client::{Client, GetOptions, GetResponse, WatchOptions};
use registry_core::{
    Cursor, Error, Feed, FeedItem, Operation, ResetCause, Result, ServiceName, Snapshot, WatchSource, resume,
};

use crate::error::lost;
use crate::feed::{Reader, Start};
use crate::proof::{Anchor, hash};
use crate::pulse::Head;
use crate::registry::EtcdRegistry;

/// How many changes are held for a consumer that does not read.
const CAPACITY: usize = 4_096;

#[async_trait]
impl WatchSource for EtcdRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        let (first, cursor, head) = match from {
            Some(cursor) => (None, cursor, self.same_store(cursor).await?.revision),
            None => {
                let snapshot = self.load(service, Operation::Watch).await?;
                let cursor = snapshot.cursor();
                (Some(snapshot), cursor, cursor.revision().get())
            }
        };
        let anchor = match from.and_then(Anchor::of) {
            Some(anchor) => self.reachable(service, anchor, cursor).await?,
            None if from.is_some() => {
                self.was_empty(service, cursor).await?;
                None
            }
            None => None,
        };
        self.open_at(service, first, Start { cursor, anchor, head }).await
    }
}

impl EtcdRegistry {
    async fn open_at(&self, service: &ServiceName, first: Option<Snapshot>, start: Start) -> Result<Feed> {
        let (key, end) = self.codec().range(service);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(i64::try_from(start.first_revision()).unwrap_or(i64::MAX))
            .with_fragment()
            .with_progress_notify();
        let open = |client: &Client| {
            let (mut watches, key, options) = (client.watch_client(), key.clone(), options.clone());
            async move { watches.watch(key, Some(options)).await }
        };
        let (member, stream) = self.connection().ask(self.connection().begin(Operation::Watch), open).await?;
        let (sender, feed) = resume::feed(CAPACITY);
        let reader = Reader::new(self.clone(), service.clone(), member, stream, start);
        tokio::spawn(reader.run(sender, first.map(FeedItem::Snapshot)));
        Ok(feed)
    }

    /// Whether the store is the one that `cursor` came from, as far as that can be told before its history is seen.
    async fn same_store(&self, cursor: Cursor) -> Result<Head> {
        let head = self.store().head(Operation::Watch).await?;
        same(head, cursor).map(|()| head)
    }

    /// A cursor without a change to show comes from a service that was empty then; if it was so in the present history, what comes later is all
    /// that there is to tell.
    async fn was_empty(&self, service: &ServiceName, cursor: Cursor) -> Result<()> {
        let found = self.latest_at(service, cursor.revision().get(), 1, 0).await?;
        if found.kvs().is_empty() {
            return Ok(());
        }
        Err(lost(ResetCause::Unknown, "the cursor does not say from which change to go on"))
    }

    /// `anchor`, when its revision can still be watched. Where it is compacted, the state at the cursor may still be there: that shows the same if
    /// the change is the latest in it, and then there is nothing left to show.
    async fn reachable(
        &self,
        service: &ServiceName,
        anchor: Anchor,
        cursor: Cursor,
    ) -> Result<Option<Anchor>> {
        let Some(compacted) = self.compacted_at(anchor.revision).await? else { return Ok(Some(anchor)) };
        let modified = i64::try_from(anchor.revision).unwrap_or(i64::MAX);
        let found = self.latest_at(service, cursor.revision().get(), 0, modified).await?;
        if found.kvs().iter().all(|kv| kv.mod_revision() == modified) && shows(&found, anchor) {
            return Ok(None);
        }
        Err(compacted)
    }

    /// The error with which etcd says that the state at a revision is compacted; `None` when it is not. Costs a look at one key.
    async fn compacted_at(&self, revision: u64) -> Result<Option<Error>> {
        let options =
            GetOptions::new().with_revision(i64::try_from(revision).unwrap_or(i64::MAX)).with_keys_only();
        let ask = |client: &Client| {
            let (mut kv, options) = (client.kv_client(), options.clone());
            async move { kv.get(self.store().key(), Some(options)).await }
        };
        match self.connection().call(Operation::Watch, ask).await {
            Ok(_) => Ok(None),
            Err(error) if error.reset_cause() == Some(ResetCause::Compacted) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Why a watch that should have delivered `anchor` has not: `None` when the change is in the history, so that it is still to come.
    pub(crate) async fn missing(&self, service: &ServiceName, anchor: Anchor) -> Result<Option<Missing>> {
        if anchor.deletion {
            // etcd does not show a deletion at the very revision up to which it is compacted.
            let compacted = self.compacted_at(anchor.revision.saturating_sub(1)).await?;
            return Ok(Some(compacted.map_or(Missing::Unknown, |_| Missing::Compacted)));
        }
        let least = i64::try_from(anchor.revision).unwrap_or(i64::MAX);
        let found = self.latest_at(service, anchor.revision, 0, least).await?;
        Ok((!shows(&found, anchor)).then_some(Missing::Replaced))
    }

    /// The keys of a service as they were at a revision, those that were changed at `least` or later.
    async fn latest_at(&self, service: &ServiceName, at: u64, limit: i64, least: i64) -> Result<GetResponse> {
        let (start, end) = self.codec().range(service);
        let options = GetOptions::new()
            .with_range(end)
            .with_revision(i64::try_from(at).unwrap_or(i64::MAX))
            .with_limit(limit)
            .with_min_mod_revision(least);
        let ask = |client: &Client| {
            let (mut kv, start, options) = (client.kv_client(), start.clone(), options.clone());
            async move { kv.get(start, Some(options)).await }
        };
        self.connection().call(Operation::Watch, ask).await
    }
}

/// Why a change is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The history was compacted up to it.
    Compacted,
    /// The history has something else there, for certain.
    Replaced,
    /// It cannot be looked for.
    Unknown,
}

fn shows(found: &GetResponse, anchor: Anchor) -> bool {
    found.kvs().iter().any(|kv| hash(anchor.revision, kv.key(), kv.value()) == anchor.hash)
}

/// Whether `head` can be of the history that `cursor` came from.
pub(crate) fn same(head: Head, cursor: Cursor) -> Result<()> {
    if head.epoch != Some(cursor.epoch()) {
        return Err(lost(ResetCause::Wiped, "the store is another one"));
    }
    if head.revision < cursor.revision().get() {
        return Err(lost(ResetCause::Diverged, "the store went back to before the cursor"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use registry_core::{Change, Instance, RegisterOptions, Registry};
    use registry_testing::servers::etcd::{Etcd, EtcdOptions as ServerOptions, etcd_3_5};
    use tokio::time::timeout;

    use super::*;
    use crate::options::EtcdOptions;

    /// What becomes of a watch that opens at `cursor` while etcd is compacted up to the deletion that follows it.
    async fn opened_over_a_compacted_deletion(options: ServerOptions) {
        let etcd = Etcd::start(options).await.unwrap();
        let registry = EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()])).unwrap();
        let instance = Instance::builder("user.rpc").id("a").endpoint("10.0.0.1:80").build().unwrap();
        registry.register(&instance, &RegisterOptions::new()).await.unwrap();
        // Something that no watch of the service sees, so that the cursor is not of a change.
        etcd.put("junk", "x").await.unwrap();
        let loaded = registry.lookup(instance.service()).await.unwrap();
        assert_eq!(loaded.len(), 1);
        etcd.delete("/registry/user.rpc/a").await.unwrap();
        etcd.compact().await.unwrap();
        let cursor = loaded.cursor();
        let start = Start { cursor, anchor: None, head: cursor.revision().get() };
        let mut feed = registry.open_at(instance.service(), None, start).await.unwrap();
        let first = timeout(Duration::from_secs(20), feed.next()).await.expect("it says something").unwrap();
        match first {
            Err(error) => assert_eq!(error.reset_cause(), Some(ResetCause::Compacted), "{error}"),
            Ok(FeedItem::Changes(batch)) => assert!(matches!(batch.changes[..], [Change::Delete { .. }])),
            Ok(item) => panic!("a deletion was lost: {item:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_deletion_that_is_compacted_before_the_watch_opens_is_not_lost() {
        opened_over_a_compacted_deletion(ServerOptions::default()).await;
        opened_over_a_compacted_deletion(ServerOptions::default().with_program(etcd_3_5().unwrap())).await;
    }
}
