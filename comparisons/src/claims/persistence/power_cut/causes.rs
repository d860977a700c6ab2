//! With which cause a watch of this project starts anew.

use std::sync::{Arc, Mutex, PoisonError};

use registry_core::{ResetCause, ServiceName, WatchEvent};
use tokio::task::JoinHandle;

use crate::claims::persistence::subjects::Client;
use crate::experiment::Trouble;

/// A watch in the background that remembers why it was reset after its first list. Ends when dropped.
pub(super) struct Causes {
    causes: Arc<Mutex<Vec<ResetCause>>>,
    task: JoinHandle<()>,
}

impl Causes {
    /// None where the registry is not of this project.
    pub(super) fn watch(client: &Client, service: &str) -> Result<Option<Self>, Trouble> {
        let Some(registry) = &client.registry else { return Ok(None) };
        let mut watch = registry.watch(&ServiceName::new(service)?, None);
        let causes = Arc::<Mutex<Vec<_>>>::default();
        let shared = Arc::clone(&causes);
        let task = tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                if let WatchEvent::Reset { cause, .. } = event
                    && cause != ResetCause::First
                {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).push(cause);
                }
            }
        });
        Ok(Some(Self { causes, task }))
    }

    /// How often it was told that the store's history is another, or was emptied.
    pub(super) fn losses(&self) -> usize {
        let is_loss = |cause: &&ResetCause| matches!(cause, ResetCause::Diverged | ResetCause::Wiped);
        self.causes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(is_loss).count()
    }
}

impl Drop for Causes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
