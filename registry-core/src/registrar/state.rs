//! What a registrar tells about itself.

use tokio::time::Instant;

use crate::error::Error;
use crate::lease::Registration;

/// Where a [`Registrar`](crate::Registrar) is in its life.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrarState {
    /// Not registered yet; `error` is what the last attempt failed with.
    Starting {
        /// Why the last attempt failed.
        error: Option<Error>,
    },
    /// Registered, and the lease is valid as far as this process knows.
    Registered {
        /// The registration.
        registration: Registration,
        /// What the last heartbeat or update failed with; `None` when it succeeded.
        error: Option<Error>,
    },
    /// Not known to be registered: the lease was lost, or could not be renewed for a TTL. Registering anew.
    Recovering {
        /// Since when.
        since: Instant,
        /// What went wrong last.
        error: Error,
    },
    /// Another process holds the id. Ends here, or waits for the id to be free, as
    /// [`when_fenced`](crate::RegistrarOptions::when_fenced) says.
    Fenced {
        /// Since when.
        since: Instant,
        /// What the registry said.
        error: Error,
    },
    /// Taken off by [`pause`](crate::Registrar::pause).
    Paused,
    /// Marked as draining, or about to be; deregisters at `until`.
    Draining {
        /// When it will deregister.
        until: Instant,
    },
    /// Ended.
    Closed {
        /// Why, when it was not asked to.
        error: Option<Error>,
    },
}

impl RegistrarState {
    /// The state in one lower-case word: `starting`, `registered`, `recovering`, `fenced`, `paused`, `draining` or `closed`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Registered { .. } => "registered",
            Self::Recovering { .. } => "recovering",
            Self::Fenced { .. } => "fenced",
            Self::Paused => "paused",
            Self::Draining { .. } => "draining",
            Self::Closed { .. } => "closed",
        }
    }

    /// Whether the instance is registered as far as this process knows.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }
}
