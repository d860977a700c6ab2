//! Opens one connection's worth of a watch: listens, and then finds where to begin.

use async_trait::async_trait;
use registry_core::resume::feed;
use registry_core::{
    Cursor, Error, ErrorKind, Feed, FeedItem, Operation, ResetCause, Result, ServiceName, WatchSource,
};

use crate::error::{failure, lost};
use crate::feed::Reader;
use crate::load::State;
use crate::log::{self, Broken};
use crate::registry::RedisRegistry;

/// So many changes are held for a consumer that does not read.
const CAPACITY: usize = 4_096;

#[async_trait]
impl WatchSource for RedisRegistry {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        // First, so that nothing falls between what is read now and what is told then.
        let keys = self.connection().keys(service);
        let listening = self.connection().listen(&keys).await?;
        let (first, position) = match from {
            None => {
                let snapshot = self.load(service, Operation::Watch).await?;
                let cursor = snapshot.cursor();
                if cursor.epoch() == registry_core::Epoch::default() {
                    let message =
                        "a service that nobody has used yet can be watched only when Redis accepts writes";
                    return Err(failure(ErrorKind::Unavailable, Operation::Watch, message));
                }
                (Some(FeedItem::Snapshot(snapshot)), cursor)
            }
            Some(cursor) => {
                self.resumable(service, cursor).await?;
                (None, cursor)
            }
        };
        let (sender, feed) = feed(CAPACITY);
        let reader = Reader::new(self.clone(), service.clone(), listening, position);
        tokio::spawn(reader.run(sender, first));
        Ok(feed)
    }
}

impl RedisRegistry {
    /// Whether what comes after `cursor` can be told from the log.
    async fn resumable(&self, service: &ServiceName, cursor: Cursor) -> Result<()> {
        let seen = self.store().seen(service);
        let state = self.swept(service, 0, Operation::Watch).await?;
        same_epoch(&state, cursor)?;
        let Some(now) = state.at else { return Err(lost(ResetCause::Wiped, "the service was removed")) };
        let broken = if cursor.revision() > now.revision() {
            Some(Broken::Replaced)
        } else if cursor.revision() == now.revision() {
            (cursor.proof() != now.proof()).then_some(Broken::Replaced)
        } else {
            match log::after(self.connection(), service, cursor, Operation::Watch).await? {
                Ok(changes) if changes.is_empty() => Some(Broken::Trimmed),
                Ok(_) => None,
                Err(broken) => Some(broken),
            }
        };
        match broken {
            None => Ok(()),
            Some(broken) => {
                // Anybody may make up a cursor; only what was seen here proves that the history is another one.
                let ours = seen == Some(cursor);
                Err(self.broken(service, cursor, broken, ours).await)
            }
        }
    }

    /// The error for a history that does not go on from `position`. When it was ours, what comes next is of another epoch.
    pub(crate) async fn broken(
        &self,
        service: &ServiceName,
        position: Cursor,
        broken: Broken,
        ours: bool,
    ) -> Error {
        match broken {
            Broken::Trimmed => lost(ResetCause::Compacted, "the log does not reach back to the cursor"),
            Broken::Replaced if ours => {
                match self.begin_epoch(service, position.epoch(), Operation::Watch).await {
                    Ok(()) => lost(ResetCause::Diverged, "the history is not the one the cursor came from"),
                    Err(error) => error,
                }
            }
            Broken::Replaced => lost(ResetCause::Unknown, "the cursor is of no history that is known here"),
        }
    }
}

/// Whether `state` is of the history that `cursor` came from, as far as epochs tell.
pub(crate) fn same_epoch(state: &State, cursor: Cursor) -> Result<()> {
    match state.at {
        Some(at) if at.epoch() == cursor.epoch() => Ok(()),
        Some(_) if state.before == Some(cursor.epoch()) => {
            Err(lost(ResetCause::Diverged, "the history is not the one the cursor came from"))
        }
        _ => Err(lost(ResetCause::Wiped, "the service was removed, or is another one")),
    }
}
