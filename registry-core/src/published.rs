//! A value with one writer and many readers: reading is wait-free, waiting for the next one costs a list entry.
//!
//! Not `tokio::sync::watch`: reading that takes a lock, and its order of waking is random.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

/// The version that says: the writer is gone, the value is final.
const CLOSED: u64 = u64::MAX;

/// Readers wait in so many lists by turns: who is woken and waits again would be in the way of the writer that wakes the others of its list.
const LISTS: usize = 8;

struct Shared<T> {
    value: ArcSwap<T>,
    version: AtomicU64,
    changed: [Notify; LISTS],
    /// How many readers there ever were.
    readers: AtomicUsize,
    touched: Notify,
}

impl<T> Shared<T> {
    fn notify(&self) {
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    fn next_list(&self) -> usize {
        self.readers.fetch_add(1, Ordering::Relaxed) % LISTS
    }
}

/// The writing side. Dropping it closes the value.
pub(crate) struct Publisher<T> {
    shared: Arc<Shared<T>>,
}

/// A reading side, with its own idea of what it has seen.
pub(crate) struct Reader<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    list: usize,
}

/// A value and the first reader of it, which has seen nothing yet.
pub(crate) fn published<T>(value: T) -> (Publisher<T>, Reader<T>) {
    let shared = Arc::new(Shared {
        value: ArcSwap::from_pointee(value),
        version: AtomicU64::new(1),
        changed: Default::default(),
        readers: AtomicUsize::new(1),
        touched: Notify::new(),
    });
    (Publisher { shared: Arc::clone(&shared) }, Reader { shared, seen: 0, list: 0 })
}

impl<T> Publisher<T> {
    /// Replaces the value and wakes who waits.
    pub(crate) fn publish(&mut self, value: T) {
        self.shared.value.store(Arc::new(value));
        self.shared.version.fetch_add(1, Ordering::Release);
        self.shared.notify();
    }

    /// Replaces the value for who reads next, without waking anyone but who waits for that.
    pub(crate) fn publish_silently(&mut self, value: T) {
        self.shared.value.store(Arc::new(value));
        self.shared.touched.notify_waiters();
    }

    /// The present value.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.shared.value.load()
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.shared.version.store(CLOSED, Ordering::Release);
        self.shared.notify();
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen, list: self.shared.next_list() }
    }
}

impl<T> Reader<T> {
    /// The present value: no lock, and no allocation but once per thread.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.shared.value.load()
    }

    /// Whether the writer is gone, so that the value is final.
    pub(crate) fn is_closed(&self) -> bool {
        self.version() == CLOSED
    }

    /// A reader of the same value that has seen nothing yet.
    pub(crate) fn fresh(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: 0, list: self.shared.next_list() }
    }

    /// Waits until there is a value that this reader has not seen; `false` once the writer is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        let mut version = self.version();
        while version == self.seen {
            // Hears what is published from here on, without the lock that being polled takes; so a second look misses nothing.
            let notified = self.shared.changed[self.list].notified();
            version = self.version();
            if version != self.seen {
                break;
            }
            notified.await;
            version = self.version();
        }
        if version == CLOSED {
            return false;
        }
        self.seen = version;
        true
    }

    fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Waits until the value is replaced silently the next time.
    pub(crate) async fn touched(&self) {
        self.shared.touched.notified().await;
    }

    /// Waits until the value satisfies `wanted`, and gives it; `Err` with the final value when the writer went before.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Arc<T>, Arc<T>> {
        loop {
            // Ask for the change first: what is published after the look wakes the wait.
            let open = self.changed().await;
            let value = self.shared.value.load_full();
            if wanted(&value) {
                return Ok(value);
            }
            if !open {
                return Err(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::{LISTS, Reader, published};

    #[tokio::test(start_paused = true)]
    async fn a_change_and_the_end_are_heard_by_everyone_who_waits_whatever_the_list() {
        let (publisher, mut first) = published(0);
        let mut publisher = Some(publisher);
        assert!(first.changed().await, "what is there is news");
        let mut readers: Vec<_> = (0..2 * LISTS).map(|_| first.clone()).collect();
        for expected in [true, false] {
            let heard = join_all(readers.iter_mut().map(Reader::changed));
            let waiting = timeout(Duration::from_secs(1), heard);
            // It is polled first, so all of them wait.
            let (heard, _) = tokio::join!(waiting, async {
                if expected { publisher.as_mut().unwrap().publish(1) } else { drop(publisher.take()) }
            });
            assert_eq!(heard.expect("all are told"), vec![expected; 2 * LISTS]);
        }
    }
}
