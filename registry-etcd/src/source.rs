//! One connection's worth of a watch.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use futures_util::stream::unfold;
use registry_core::resume::PROGRESS_INTERVAL;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Epoch, ErrorKind, Feed, FeedItem, Operation, ResetCause, Result,
    ServiceName, WatchSource,
};
use tokio::time::{Instant, sleep_until};

use crate::entry::{listed, revision};
use crate::error::{classify, failure, lost};
use crate::registry::{EtcdRegistry, header_revision, identity};

/// How long to wait before asking a member again that lags behind.
const LAG: Duration = Duration::from_millis(100);
/// How often a member may say that it is current without having delivered the change to resume from, before it counts as gone:
/// etcd before 3.4.25 and 3.5.8 may say so too early.
const TOO_EARLY: u32 = 4;

#[async_trait]
impl WatchSource for EtcdRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        let (first, cursor) = match from {
            Some(cursor) => {
                self.check_history(cursor).await?;
                (None, cursor)
            }
            None => {
                let snapshot = self.load(service, Operation::Watch).await?;
                let cursor = snapshot.cursor();
                (Some(FeedItem::Snapshot(snapshot)), cursor)
            }
        };
        let anchor = match from {
            Some(cursor) => self.anchor(cursor).await?,
            None => None,
        };
        let start = anchor.as_ref().map_or(cursor.revision().get() + 1, |anchor| anchor.revision);
        let (key, end) = self.keys().service(service);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(i64::try_from(start).unwrap_or(i64::MAX))
            .with_progress_notify();
        let watch = self
            .connection()
            .call(Operation::Watch, |mut client| {
                let (key, options) = (key.clone(), options.clone());
                async move { client.watch(key, Some(options)).await }
            })
            .await?;
        let feed = State {
            registry: self.clone(),
            watch,
            ready: first.map(Ok).into_iter().collect(),
            cursor,
            anchor,
            proof: Proof::Due(Instant::now()),
            early: 0,
            ended: false,
        };
        Ok(Box::pin(unfold(feed, |mut feed| async move {
            let item = feed.next().await?;
            Some((item, feed))
        })))
    }
}

impl EtcdRegistry {
    /// The identity of the store and its present revision. Linearizable.
    async fn head(&self) -> Result<(Option<Epoch>, u64)> {
        let key = self.keys().store();
        let response = self
            .connection()
            .call(Operation::Watch, |mut client| {
                let key = key.clone();
                async move { client.get(key, None).await }
            })
            .await?;
        let epoch = response.kvs().first().and_then(|kv| identity(kv.value()));
        Ok((epoch, revision(header_revision(response.header())).get()))
    }

    /// The change that must come first from `cursor`; none when that its history is the same was shown otherwise.
    async fn anchor(&self, cursor: Cursor) -> Result<Option<Anchor>> {
        let at = i64::try_from(cursor.revision().get()).unwrap_or(i64::MAX);
        match Anchor::of(cursor) {
            Some(anchor) => Ok(Some(anchor)),
            None => match self.latest(at, Operation::Watch).await? {
                Some(hash) if proof_of_all(hash) == cursor.proof() => Ok(None),
                _ => {
                    self.begin_epoch(cursor.epoch()).await;
                    Err(lost(
                        ResetCause::Diverged,
                        "the history up to the cursor is not the one it came from",
                    ))
                }
            },
        }
    }

    /// Whether the store is the one that `cursor` came from, as far as that can be told before its history is seen.
    async fn check_history(&self, cursor: Cursor) -> Result<u64> {
        let (epoch, head) = self.head().await?;
        if epoch != Some(cursor.epoch()) {
            return Err(lost(ResetCause::Wiped, "the store is another one"));
        }
        if head < cursor.revision().get() {
            self.begin_epoch(cursor.epoch()).await;
            return Err(lost(ResetCause::Diverged, "the store went back to before the cursor"));
        }
        Ok(head)
    }
}

/// The change that a resumed watch must deliver first, to show that the history is the one its cursor came from.
#[derive(Debug)]
struct Anchor {
    revision: u64,
    hash: u32,
}

impl Anchor {
    /// Of a cursor's proof: how far the change lies before the cursor's revision, and its hash.
    fn of(cursor: Cursor) -> Option<Self> {
        let (back, hash) = ((cursor.proof() >> 32), cursor.proof() as u32);
        let revision = cursor.revision().get().checked_sub(back)?;
        (hash != 0 && back < u64::from(OF_ALL)).then_some(Self { revision, hash })
    }
}

/// In place of the distance: the hash is of the latest change under the whole prefix.
const OF_ALL: u32 = u32::MAX;

/// The proof of the cursor of a service that is empty.
pub(crate) fn proof_of_all(hash: u32) -> u64 {
    u64::from(OF_ALL) << 32 | u64::from(hash)
}

/// The proof of a cursor at `at`, by the latest change known there: that of `modified`, with this hash. 0 without one.
pub(crate) fn proof(at: u64, modified: u64, hash: u32) -> u64 {
    match u32::try_from(at.saturating_sub(modified)) {
        Ok(back) if hash != 0 && back < OF_ALL => u64::from(back) << 32 | u64::from(hash),
        _ => 0,
    }
}

/// The hash of a change, never 0. FNV-1a, because a cursor may be read by another build.
pub(crate) fn hash(modified: i64, key: &[u8], value: &[u8]) -> u32 {
    let parts = [&modified.to_be_bytes()[..], key, &[0], value];
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    ((hash ^ (hash >> 32)) as u32).max(1)
}

/// How far the next proof of being current is.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// To be begun then.
    Due(Instant),
    /// The watch must say that it is at this revision; asked for again then.
    Awaited(u64, Instant),
}

struct State {
    registry: EtcdRegistry,
    watch: WatchStream,
    ready: VecDeque<Result<FeedItem>>,
    cursor: Cursor,
    anchor: Option<Anchor>,
    proof: Proof,
    early: u32,
    ended: bool,
}

impl State {
    async fn next(&mut self) -> Option<Result<FeedItem>> {
        if self.ended {
            return None;
        }
        let item = match self.ready.pop_front() {
            Some(item) => item,
            None => self.find().await,
        };
        if let Err(error) = &item {
            self.ended = true;
            if error.reset_cause() == Some(ResetCause::Diverged) {
                self.registry.begin_epoch(self.cursor.epoch()).await;
            }
        }
        Some(item)
    }

    async fn find(&mut self) -> Result<FeedItem> {
        loop {
            let wake = match self.proof {
                Proof::Due(at) | Proof::Awaited(_, at) => at,
            };
            tokio::select! {
                biased;
                response = self.watch.message() => {
                    let response = response.map_err(|error| classify(Operation::Watch, error))?;
                    let response = response
                        .ok_or_else(|| failure(ErrorKind::Unavailable, Operation::Watch, "etcd ended the watch"))?;
                    self.take(&response)?;
                }
                () = sleep_until(wake) => self.ask().await?,
            }
            if let Some(item) = self.ready.pop_front() {
                return item;
            }
        }
    }

    /// Asks the store where it is, and the watch to say when it is there.
    async fn ask(&mut self) -> Result<()> {
        let head = match self.proof {
            Proof::Due(_) => self.registry.check_history(self.cursor).await?,
            Proof::Awaited(head, _) => head,
        };
        self.proof = Proof::Awaited(head, Instant::now() + PROGRESS_INTERVAL);
        self.watch.request_progress().await.map_err(|error| classify(Operation::Watch, error))
    }

    fn take(&mut self, response: &WatchResponse) -> Result<()> {
        if response.canceled() {
            return Err(match response.compact_revision() {
                0 => failure(ErrorKind::Unavailable, Operation::Watch, response.cancel_reason()),
                _ => lost(ResetCause::Compacted, "the history after the cursor is compacted"),
            });
        }
        if response.events().is_empty() {
            return if response.created() {
                Ok(())
            } else {
                self.progressed(header_revision(response.header()))
            };
        }
        let mut events = response.events().iter().filter_map(|event| Some((event, event.kv()?))).peekable();
        while let Some((_, kv)) = events.peek() {
            let modified = kv.mod_revision();
            let mut changes = Vec::new();
            let mut last = 0;
            let mut anchored = false;
            while let Some((event, kv)) = events.next_if(|(_, kv)| kv.mod_revision() == modified) {
                last = hash(modified, kv.key(), kv.value());
                anchored |= self.anchor.as_ref().is_some_and(|anchor| anchor.hash == last);
                let Some((_, id)) = self.registry.keys().parse(kv.key()) else { continue };
                changes.push(match event.event_type() {
                    EventType::Put => match listed(self.registry.keys(), kv) {
                        Some(entry) => Change::Put(entry),
                        // What was listed there cannot be read any more.
                        None => Change::Delete { id, cause: DeleteCause::Unknown },
                    },
                    EventType::Delete => Change::Delete { id, cause: DeleteCause::Unknown },
                });
            }
            let at = revision(modified);
            if let Some(anchor) = self.anchor.take()
                && (anchor.revision != at.get() || !anchored)
            {
                return Err(lost(
                    ResetCause::Diverged,
                    "the change at the cursor is not the one that was delivered",
                ));
            }
            // etcd before 3.4.25 may send what it has sent before.
            if at > self.cursor.revision() {
                self.cursor = Cursor::new(self.cursor.epoch(), at, proof(at.get(), at.get(), last));
                if !changes.is_empty() {
                    self.ready.push_back(Ok(FeedItem::Changes(Batch { cursor: self.cursor, changes })));
                }
            }
        }
        Ok(())
    }

    /// The watch says that it has delivered everything up to `at`.
    fn progressed(&mut self, at: i64) -> Result<()> {
        let Proof::Awaited(head, _) = self.proof else { return Ok(()) };
        let behind = revision(at).get() < head;
        if behind || self.anchor.is_some() {
            self.early += u32::from(!behind);
            if self.early >= TOO_EARLY {
                return Err(lost(ResetCause::Diverged, "the change at the cursor is not in the history"));
            }
            self.proof = Proof::Awaited(head, Instant::now() + LAG);
            return Ok(());
        }
        self.proof = Proof::Due(Instant::now() + PROGRESS_INTERVAL);
        self.ready.push_back(Ok(FeedItem::Progress(self.cursor)));
        Ok(())
    }
}
