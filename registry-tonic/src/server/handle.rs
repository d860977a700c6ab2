//! What is held of a server while it serves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use registry_core::{Instance, RegistrarState};
use tokio::sync::watch;

/// Asks a [`Server`](crate::Server) to stop, and tells how it stands with the registry. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) local_addr: SocketAddr,
    pub(super) instance: Instance,
    /// How often it was asked to stop.
    pub(super) asked: watch::Sender<u32>,
    pub(super) state: watch::Sender<Arc<RegistrarState>>,
}

impl ServerHandle {
    pub(super) fn new(local_addr: SocketAddr, instance: Instance) -> Self {
        let state = watch::Sender::new(Arc::new(RegistrarState::Starting { error: None }));
        let shared = Shared { local_addr, instance, asked: watch::Sender::new(0), state };
        Self { shared: Arc::new(shared) }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// What it registers.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.shared.instance
    }

    /// Asks it to stop in order: to drain, deregister, and finish what is in flight. Asking
    /// again, once a step has begun, cuts that step short.
    pub fn shutdown(&self) {
        self.shared.asked.send_modify(|asked| *asked += 1);
    }

    /// The state of its registrar.
    #[must_use]
    pub fn registrar_state(&self) -> Arc<RegistrarState> {
        Arc::clone(&self.shared.state.borrow())
    }

    /// Waits until the state of its registrar satisfies `wanted`, and gives it; waits for ever when that never happens, so put
    /// a timeout around it.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&RegistrarState) -> bool) -> Arc<RegistrarState> {
        let mut states = self.shared.state.subscribe();
        match states.wait_for(|state| wanted(state)).await {
            Ok(state) => Arc::clone(&state),
            // The sender is in `self`.
            Err(_) => self.registrar_state(),
        }
    }

    /// How often it was asked to stop so far.
    pub(super) fn times_asked(&self) -> u32 {
        *self.shared.asked.borrow()
    }

    /// Completes when it has been asked more often than `seen`.
    pub(super) async fn asked_after(&self, seen: u32) {
        let mut asked = self.shared.asked.subscribe();
        // The sender is in `self`.
        let _ = asked.wait_for(|asked| *asked > seen).await;
    }

    /// Shows that the registrar is gone, unless it has said so itself.
    pub(super) fn close(&self) {
        self.shared.state.send_if_modified(|state| {
            let open = !matches!(**state, RegistrarState::Closed { .. } | RegistrarState::Fenced { .. });
            if open {
                *state = Arc::new(RegistrarState::Closed { error: None });
            }
            open
        });
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("local_addr", &self.shared.local_addr)
            .field("instance", &self.shared.instance)
            .field("registrar", &self.registrar_state())
            .finish_non_exhaustive()
    }
}
