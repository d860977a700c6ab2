//! Someone who watches, and whose memory can be looked into.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use registry_testing::servers::{ServerError, until};
use tokio::task::JoinHandle;

use crate::contestants::{Listed, Seen, Watching, fold};

/// Reads a watch to its end and remembers everything.
pub(super) struct Watcher {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Told {
    seen: Vec<Seen>,
    /// None before the first list.
    view: Option<Listed>,
}

impl Watcher {
    pub(super) fn of(mut watching: Watching) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(seen) = watching.next().await {
                let mut told = lock(&shared);
                if told.view.is_some() || matches!(seen, Seen::List { .. }) {
                    fold(told.view.get_or_insert_default(), &seen);
                }
                told.seen.push(seen);
            }
        });
        Self { told, task }
    }

    /// Waits until its view is as wanted; it has none before its first list.
    pub(super) async fn until(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Listed) -> bool,
    ) -> Result<(), ServerError> {
        until(what, within, || async { lock(&self.told).view.as_ref().filter(|view| wanted(view)).map(drop) })
            .await
    }

    /// How much it was told so far.
    pub(super) fn count(&self) -> usize {
        lock(&self.told).seen.len()
    }

    /// All that it was told after the first `count`.
    pub(super) fn since(&self, count: usize) -> Vec<Seen> {
        lock(&self.told).seen.get(count..).unwrap_or_default().to_vec()
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
