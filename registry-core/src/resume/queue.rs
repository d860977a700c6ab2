//! A bounded queue between the task that reads a store's stream and the consumer of a feed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::event::ResetCause;
use crate::registry::{Feed, FeedItem};

/// How long a full queue may stay more than half full before it overflows.
pub const OVERFLOW_AFTER: Duration = Duration::from_secs(1);

/// For backends that read in a task of their own: the two ends of a [`Feed`] that holds at most `capacity` changes.
///
/// While the queue is full the sender waits, and the store's stream with it. A consumer that has not taken half of them within
/// [`OVERFLOW_AFTER`] is too slow: what is held is dropped, and the feed ends with [`CursorLost`](ErrorKind::CursorLost) because of
/// [`Overflow`](ResetCause::Overflow), which the resume machine turns into one `Reset`. So neither memory nor the age of what is
/// delivered grows without bound.
#[must_use]
pub fn feed(capacity: usize) -> (FeedSender, Feed) {
    let queue = Arc::new(Queue {
        capacity: capacity.max(1),
        state: Mutex::default(),
        readable: Notify::new(),
        writable: Notify::new(),
    });
    let receiver = Receiver { queue: Arc::clone(&queue) };
    let items = unfold(Some(receiver), |receiver| async move {
        let receiver = receiver?;
        let item = receiver.next().await;
        let receiver = item.is_ok().then_some(receiver);
        Some((item, receiver))
    });
    (FeedSender { queue }, Box::pin(items))
}

/// The sending end of a [`feed`]. Dropping it ends the feed as unavailable, after what is held.
#[derive(Debug)]
pub struct FeedSender {
    queue: Arc<Queue>,
}

/// The feed takes no more: its consumer has gone, or was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedClosed;

#[derive(Debug)]
struct Queue {
    capacity: usize,
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<FeedItem>,
    /// Of all items together.
    changes: usize,
    /// What follows after the items.
    end: Option<Error>,
    gone: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: Error) {
        self.lock().end.get_or_insert(error);
        self.readable.notify_one();
    }
}

/// What an item takes of the capacity.
fn size(item: &FeedItem) -> usize {
    match item {
        FeedItem::Changes(batch) => batch.changes.len().max(1),
        _ => 1,
    }
}

/// Of two proofs in a row only the later one tells something.
fn replaces(item: &FeedItem, last: Option<&FeedItem>) -> bool {
    matches!((item, last), (FeedItem::Progress(_), Some(FeedItem::Progress(_))))
}

impl FeedSender {
    /// Hands an item over; waits while the queue is full. A progress that follows an unread progress takes its place.
    ///
    /// # Errors
    /// [`FeedClosed`] when there is nobody to take it, or after an overflow.
    ///
    /// # Dropping the future
    /// The item is not handed over.
    pub async fn send(&self, item: FeedItem) -> Result<(), FeedClosed> {
        if self.is_full(&item)? {
            let room = timeout(OVERFLOW_AFTER, self.room()).await;
            if let Ok(closed) = room {
                closed?;
            } else {
                let mut state = self.queue.lock();
                state.items.clear();
                state.end = Some(Error::cursor_lost(
                    ResetCause::Overflow,
                    format!("more than {} changes were not read in time", self.queue.capacity),
                ));
                drop(state);
                self.queue.readable.notify_one();
                return Err(FeedClosed);
            }
        }
        let mut state = self.queue.lock();
        if replaces(&item, state.items.back()) {
            state.items.pop_back();
            state.changes -= 1;
        }
        state.changes += size(&item);
        state.items.push_back(item);
        drop(state);
        self.queue.readable.notify_one();
        Ok(())
    }

    /// Ends the feed with `error`, after what is held.
    pub fn fail(self, error: Error) {
        self.queue.end(error);
    }

    /// Waits until the consumer has dropped the feed.
    pub async fn closed(&self) {
        loop {
            let changed = self.queue.writable.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.queue.lock().gone {
                return;
            }
            changed.await;
        }
    }

    fn is_full(&self, item: &FeedItem) -> Result<bool, FeedClosed> {
        let state = self.queue.lock();
        if state.gone || state.end.is_some() {
            return Err(FeedClosed);
        }
        Ok(state.changes >= self.queue.capacity && !replaces(item, state.items.back()))
    }

    /// Waits until half of the queue is free.
    async fn room(&self) -> Result<(), FeedClosed> {
        loop {
            let changed = self.queue.writable.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.queue.lock();
                if state.gone {
                    return Err(FeedClosed);
                }
                if state.changes <= self.queue.capacity / 2 {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}

impl Drop for FeedSender {
    fn drop(&mut self) {
        let message = "the task that reads the store's stream ended";
        self.queue.end(Error::new(ErrorKind::Unavailable, Operation::Watch, message));
    }
}

struct Receiver {
    queue: Arc<Queue>,
}

impl Receiver {
    async fn next(&self) -> Result<FeedItem> {
        loop {
            {
                let mut state = self.queue.lock();
                if let Some(item) = state.items.pop_front() {
                    state.changes = state.changes.saturating_sub(size(&item));
                    let roomy = state.changes <= self.queue.capacity / 2;
                    drop(state);
                    if roomy {
                        self.queue.writable.notify_waiters();
                    }
                    return Ok(item);
                }
                if let Some(error) = &state.end {
                    return Err(error.clone());
                }
            }
            // One permit is kept by `notify_one`, so nothing is missed between the look and the wait.
            self.queue.readable.notified().await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.gone = true;
        state.items.clear();
        drop(state);
        self.queue.writable.notify_waiters();
    }
}
