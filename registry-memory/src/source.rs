//! One connection's worth of a watch.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::unfold;
use registry_core::resume::PROGRESS_INTERVAL;
use registry_core::{Cursor, Feed, FeedItem, Operation, Result, ServiceName, WatchSource};
use tokio::time::{Instant, sleep_until};

use crate::link::{Condition, away};
use crate::registry::{MemoryRegistry, Signal};
use crate::store::Found;

#[async_trait]
impl WatchSource for MemoryRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        self.link().pass(Operation::Watch).await?;
        // Before the look, so that nothing is forgotten in between.
        let subscription = Subscription::new(self, service);
        let (first, cursor) = match from {
            Some(cursor) => {
                self.with_store(|store| store.check_resume(service, cursor))?;
                (None, cursor)
            }
            None => {
                let snapshot = self.with_store(|store| store.lookup(service, Instant::now()));
                let cursor = snapshot.cursor();
                (Some(FeedItem::Snapshot(snapshot)), cursor)
            }
        };
        let feed = State { subscription, first, cursor, progress_at: None, ended: false };
        Ok(Box::pin(unfold(feed, |mut feed| async move {
            let item = feed.next().await?;
            Some((item, feed))
        })))
    }
}

/// A feed: what it has delivered, and when it is due to say that nothing changed.
struct State {
    subscription: Subscription,
    first: Option<FeedItem>,
    cursor: Cursor,
    /// When to prove that it is current; `None`: as soon as it is.
    progress_at: Option<Instant>,
    ended: bool,
}

impl State {
    async fn next(&mut self) -> Option<Result<FeedItem>> {
        if self.ended {
            return None;
        }
        let item = self.find().await;
        self.ended = item.is_err();
        Some(item)
    }

    async fn find(&mut self) -> Result<FeedItem> {
        let (signal, link) =
            (Arc::clone(&self.subscription.signal), Arc::clone(self.subscription.registry.link()));
        loop {
            // Listen before looking: what changes after the look wakes the wait.
            let changed = signal.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let relinked = link.changed.notified();
            let mut relinked = std::pin::pin!(relinked);
            relinked.as_mut().enable();

            let until = match link.condition() {
                Condition::Down => return Err(away(Operation::Watch)),
                Condition::Silent => None,
                Condition::Up => match self.look() {
                    Ok(Ok(item)) => return Ok(item),
                    Ok(Err(until)) => Some(until),
                    Err(error) => return Err(error),
                },
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = relinked => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    /// The next item, or when to look again at the latest.
    fn look(&mut self) -> Result<Result<FeedItem, Instant>> {
        if let Some(first) = self.first.take() {
            return Ok(Ok(first));
        }
        let now = Instant::now();
        let Subscription { registry, service, .. } = &self.subscription;
        let found = registry.with_store(|store| store.next(service, self.cursor, now))?;
        Ok(match found {
            Found::Batch(batch) => {
                self.cursor = batch.cursor;
                Ok(FeedItem::Changes(batch))
            }
            Found::Nothing(cursor, _) if self.progress_at.is_none_or(|at| at <= now) => {
                self.cursor = cursor;
                self.progress_at = Some(now + PROGRESS_INTERVAL);
                Ok(FeedItem::Progress(cursor))
            }
            Found::Nothing(_, deadline) => {
                let progress = self.progress_at.unwrap_or(now);
                Err(deadline.map_or(progress, |deadline| deadline.min(progress)))
            }
        })
    }
}

/// What keeps a service's log while a feed is open on it, and wakes the feed.
struct Subscription {
    registry: MemoryRegistry,
    service: ServiceName,
    signal: Arc<Signal>,
}

impl Subscription {
    fn new(registry: &MemoryRegistry, service: &ServiceName) -> Self {
        let signal = registry.subscribe(service);
        Self { registry: registry.clone(), service: service.clone(), signal }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.registry.unsubscribe(&self.service);
    }
}
