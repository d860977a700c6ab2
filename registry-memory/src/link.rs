//! The connection between one client and the store, which tests can take away.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::BACKEND;

/// What a client finds when it calls the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The store answers.
    Up,
    /// Connecting is refused, and what was open is cut.
    Down,
    /// Nothing comes back, and nothing fails: a black hole.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<(Condition, Duration)>,
    pub(crate) changed: Notify,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new((Condition::Up, Duration::ZERO)), changed: Notify::new() }
    }

    pub(crate) fn condition(&self) -> Condition {
        self.with(|state| state.0)
    }

    pub(crate) fn set(&self, condition: Condition) {
        self.with(|state| state.0 = condition);
        self.changed.notify_waiters();
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        self.with(|state| state.1 = latency);
    }

    /// Passes when the store can be called.
    pub(crate) async fn pass(&self, operation: Operation) -> Result<()> {
        let latency = self.with(|state| state.1);
        if !latency.is_zero() {
            sleep(latency).await;
        }
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.condition() {
                Condition::Up => return Ok(()),
                Condition::Down => return Err(away(operation)),
                Condition::Silent => changed.await,
            }
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut (Condition, Duration)) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) fn away(operation: Operation) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the store was taken away").with_backend(BACKEND)
}
