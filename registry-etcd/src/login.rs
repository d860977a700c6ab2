//! Who we are at the moment: what is shown to every member, read anew when it may have changed; and what was refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::{Error, ErrorKind, Operation, OwnerToken, Result, Tls, User};
use tokio::time::Instant;

use crate::credentials::Shown;
use crate::error::failure;
use crate::options::EtcdOptions;

/// The waits before what was refused is shown again: checking a password costs the server a tenth of a second of computing.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// No member has this name.
const EVERYWHERE: &str = "";

/// Shared by all members.
#[derive(Debug)]
pub(crate) struct Login {
    user: Option<User>,
    tls: Option<Tls>,
    keep: Duration,
    state: Mutex<State>,
}

struct State {
    shown: Option<Latest>,
    /// By member; under the empty name what etcd itself refused, which no other member will accept.
    refused: BTreeMap<String, Refused>,
    dice: fastrand::Rng,
}

/// What was read last, when, and its fingerprint.
#[derive(Clone)]
struct Latest {
    read: Instant,
    shown: Arc<Shown>,
    fingerprint: u64,
}

/// What was refused, and until when it is not worth showing again.
struct Refused {
    fingerprint: u64,
    error: Error,
    times: u32,
    until: Instant,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Login {
    pub(crate) fn new(options: &EtcdOptions) -> Self {
        Self {
            user: options.user.clone(),
            tls: options.tls.clone(),
            keep: options.probe_interval,
            state: Mutex::new(State {
                shown: None,
                refused: BTreeMap::new(),
                dice: fastrand::Rng::with_seed(OwnerToken::random().as_u128() as u64),
            }),
        }
    }

    /// What to show now, and its fingerprint.
    pub(crate) async fn shown(&self) -> Result<(Arc<Shown>, u64)> {
        let before = self.with(|state| state.shown.clone());
        if let Some(latest) = &before
            && (latest.read.elapsed() < self.keep || !self.can_change())
        {
            return Ok((Arc::clone(&latest.shown), latest.fingerprint));
        }
        let (user, tls) = (self.user.clone(), self.tls.clone());
        let reading = tokio::task::spawn_blocking(move || Shown::read(user.as_ref(), tls.as_ref()));
        let read = reading.await.unwrap_or_else(|_| {
            Err(failure(ErrorKind::Closed, Operation::Connect, "the runtime shuts down"))
        });
        let shown = match (read, before) {
            (Ok(shown), _) => Arc::new(shown),
            // Files that are being replaced are not there for a moment.
            (Err(error), Some(before)) => {
                tracing::warn!(%error, "the credentials read before stay in use");
                before.shown
            }
            (Err(error), None) => return Err(error),
        };
        let fingerprint = shown.fingerprint();
        let latest = Latest { read: Instant::now(), shown: Arc::clone(&shown), fingerprint };
        self.with(|state| state.shown = Some(latest));
        Ok((shown, fingerprint))
    }

    /// Whether what is shown can differ the next time.
    pub(crate) fn can_change(&self) -> bool {
        self.user.is_some() || self.tls.is_some()
    }

    /// The refusal that stands against showing this to `member`, while it does.
    pub(crate) fn standing_refusal(&self, fingerprint: u64, member: &str) -> Option<Error> {
        self.with(|state| {
            let of = |name: &str| state.refused.get(name);
            let stands =
                |refused: &&Refused| refused.fingerprint == fingerprint && Instant::now() < refused.until;
            [of(EVERYWHERE), of(member)]
                .into_iter()
                .flatten()
                .find(stands)
                .map(|refused| refused.error.clone())
        })
    }

    /// Refused by `member`, or, where etcd itself said so, everywhere.
    pub(crate) fn was_refused(&self, fingerprint: u64, member: Option<&str>, error: &Error) {
        self.with(|state| {
            let name = member.unwrap_or(EVERYWHERE);
            let same = state.refused.get(name).filter(|refused| refused.fingerprint == fingerprint);
            let times = same.map_or(0, |refused| refused.times.saturating_add(1));
            let (base, cap) = AFTER_REFUSAL;
            let until = Instant::now() + Backoff::new(base, cap).delay(times, state.dice.f64());
            state
                .refused
                .insert(name.to_owned(), Refused { fingerprint, error: error.clone(), times, until });
        });
    }

    pub(crate) fn was_accepted(&self, member: &str) {
        self.with(|state| {
            state.refused.remove(EVERYWHERE);
            state.refused.remove(member);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
