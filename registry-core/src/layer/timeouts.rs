//! Deadlines.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::{Answer, Call, Layer};
use crate::error::{Error, ErrorKind, Operation, Result};

/// How long each operation may take. One that has no answer by then fails with [`Timeout`](ErrorKind::Timeout), and its future is dropped; the
/// message says what may have happened all the same.
///
/// A watch has no deadline: it never ends, and says [`Stale`](crate::WatchEvent::Stale) by itself. Backends and [`Registrar`](crate::Registrar)s bound
/// what they ask for too; this is for who calls operations directly, and for backends that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Of [`register`](crate::Registry::register). Default: 2 s.
    pub register: Duration,
    /// Of [`keepalive`](crate::Registry::keepalive). Default: 2 s. Should be at most a third of the TTL, so that the next heartbeat comes in time.
    pub keepalive: Duration,
    /// Of [`update`](crate::Registry::update). Default: 2 s.
    pub update: Duration,
    /// Of [`deregister`](crate::Registry::deregister). Default: 2 s.
    pub deregister: Duration,
    /// Of [`lookup`](crate::Registry::lookup). Default: 10 s, enough to load a large service.
    pub lookup: Duration,
    /// Of [`services`](crate::Registry::services). Default: 10 s.
    pub services: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(10),
            services: Duration::from_secs(10),
            ..Self::all(Duration::from_secs(2))
        }
    }
}

impl Timeouts {
    /// The same for every operation. After zero, only what is there at once is given.
    #[must_use]
    pub fn all(timeout: Duration) -> Self {
        Self {
            register: timeout,
            keepalive: timeout,
            update: timeout,
            deregister: timeout,
            lookup: timeout,
            services: timeout,
        }
    }

    /// Sets how long `operation` may take. Those that have no deadline stay without one.
    #[must_use]
    pub fn with(mut self, operation: Operation, timeout: Duration) -> Self {
        match operation {
            Operation::Register => self.register = timeout,
            Operation::Keepalive => self.keepalive = timeout,
            Operation::Update => self.update = timeout,
            Operation::Deregister => self.deregister = timeout,
            Operation::Lookup => self.lookup = timeout,
            Operation::Services => self.services = timeout,
            Operation::Parse | Operation::Connect | Operation::Watch => {}
        }
        self
    }

    /// How long `operation` may take; `None` for those that have no deadline.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Option<Duration> {
        match operation {
            Operation::Register => Some(self.register),
            Operation::Keepalive => Some(self.keepalive),
            Operation::Update => Some(self.update),
            Operation::Deregister => Some(self.deregister),
            Operation::Lookup => Some(self.lookup),
            Operation::Services => Some(self.services),
            Operation::Parse | Operation::Connect | Operation::Watch => None,
        }
    }
}

impl Layer for Timeouts {
    async fn around<T: Answer>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let operation = call.operation();
        let Some(limit) = self.of(operation) else { return answer.await };
        match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(late(operation, limit)),
        }
    }
}

fn late(operation: Operation, limit: Duration) -> Error {
    let may_be = match operation {
        Operation::Register => "; the instance may be listed for one TTL, and the same token gets its lease",
        Operation::Keepalive => "; the lease may have been renewed",
        Operation::Update => "; the change may have happened, and may be made again",
        Operation::Deregister => "; the entry may be gone, otherwise it goes when its lease ends",
        _ => "",
    };
    Error::new(ErrorKind::Timeout, operation, format!("no answer within {limit:?}{may_be}"))
}
