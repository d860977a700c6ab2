//! One server: the connection to it that all requests share, made when it is needed and anew when it fails.

use std::future::Future;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::Address;
use crate::link::{Link, Use};
use crate::options::RedisOptions;
use crate::push::Pushes;
use crate::waited::{Group, Waited};

/// What was refused is not asked for again at once, so that a wrong password is no storm of log-ins.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Another failure is told to those who come within this time after it.
const SAME: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) address: Address,
    options: Arc<RedisOptions>,
    /// The present connection, for those who need not wait.
    current: Lock<Option<Arc<Link>>>,
    /// Held while a connection is being made.
    making: Mutex<Failures>,
    waited: Waited,
    pub(crate) pushes: Pushes,
}

#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: u32,
    last: Option<(Instant, Error)>,
}

impl Failures {
    /// Tries, unless whoever came at `asked` is to be told of the last failure instead of a new one.
    pub(crate) async fn unless_just_failed<T>(
        &mut self,
        asked: Instant,
        attempt: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if let Some(error) = self.still(asked) {
            return Err(error);
        }
        let outcome = attempt.await;
        self.note(&outcome);
        outcome
    }

    fn still(&self, asked: Instant) -> Option<Error> {
        let (at, error) = self.last.as_ref()?;
        let refused = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
        let wait = if refused {
            Backoff::new(AGAIN.0, AGAIN.1).delay(self.in_a_row.saturating_sub(1), 1.0)
        } else {
            SAME
        };
        (asked.saturating_duration_since(*at) < wait || *at > asked).then(|| error.clone())
    }

    fn note<T>(&mut self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => *self = Self::default(),
            Err(error) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.last = Some((Instant::now(), error.clone()));
            }
        }
    }
}

impl Member {
    pub(crate) fn new(address: Address, options: Arc<RedisOptions>) -> Self {
        let pushes = Pushes::new(address.clone(), Arc::clone(&options));
        Self {
            address,
            options,
            current: Lock::default(),
            making: Mutex::default(),
            waited: Waited::default(),
            pushes,
        }
    }

    /// The connection for requests.
    pub(crate) async fn link(&self) -> Result<Arc<Link>> {
        match self.present() {
            Some(link) => Ok(link),
            // Rare, so that who has a connection need not make room for that.
            None => Box::pin(self.make(None)).await,
        }
    }

    /// Another connection than `stalled`, which does not answer. The old one stays when no other can be had.
    pub(crate) async fn another(&self, stalled: &Arc<Link>) -> Result<Arc<Link>> {
        Box::pin(self.make(Some(stalled))).await
    }

    /// The connection, if there is one that works.
    pub(crate) fn present(&self) -> Option<Arc<Link>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|link| !link.is_broken()).cloned()
    }

    async fn make(&self, instead_of: Option<&Arc<Link>>) -> Result<Arc<Link>> {
        let asked = Instant::now();
        let mut failures = self.making.lock().await;
        // Another request may have made one meanwhile.
        if let Some(link) = self.present()
            && instead_of.is_none_or(|stalled| !Arc::ptr_eq(stalled, &link))
        {
            return Ok(link);
        }
        let connecting = Link::connect(&self.address, &self.options, Use::Requests);
        let link = failures.unless_just_failed(asked, connecting).await?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&link));
        Ok(link)
    }

    /// The connection for writes that wait for replicas.
    pub(crate) async fn waited(&self) -> Result<Arc<Group>> {
        self.waited.group(&self.address, &self.options).await
    }
}
