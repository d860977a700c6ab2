//! What a server tells about itself.

use std::sync::Arc;

/// Where a [`Server`](crate::Server) is in its life. Its gRPC health service says `SERVING` in [`Serving`](Self::Serving), and
/// `NOT_SERVING` in all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// Not serving yet, or no health check has been passed yet.
    #[default]
    Starting,
    /// Serving and healthy. Registered, or trying to be: how that goes is told by
    /// [`ServerHandle::registrar_state`](crate::ServerHandle::registrar_state).
    Serving,
    /// Its health check fails. It serves who calls all the same; where it is registered, it is marked as draining.
    Unhealthy {
        /// What the check said.
        reason: Arc<str>,
    },
    /// Another process holds its id, and it waits for the id to be free
    /// ([`WhenFenced::ReturnWhenAbsent`](registry_core::WhenFenced::ReturnWhenAbsent)).
    Fenced,
    /// Leaving: marked as draining, then deregistered.
    Draining,
    /// Takes no more calls, and finishes those in flight.
    Finishing,
    /// Its future has completed, or was dropped.
    Ended,
}

impl ServerState {
    /// The state in one lower-case word: `starting`, `serving`, `unhealthy`, `fenced`, `draining`, `finishing` or `ended`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Fenced => "fenced",
            Self::Draining => "draining",
            Self::Finishing => "finishing",
            Self::Ended => "ended",
        }
    }

    /// Whether it is serving and healthy, and not about to leave.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Serving)
    }

    /// Whether it will not come back to serving, and takes no more calls.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Finishing | Self::Ended)
    }
}
