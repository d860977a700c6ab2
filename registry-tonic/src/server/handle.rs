//! What is held of a server while it serves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use registry_core::{Instance, RegistrarState, ServiceName};
use tokio::sync::watch;

use super::ServerState;

/// Asks a [`Server`](crate::Server) to stop, and tells how it is and how it stands with the registry. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    local_addr: SocketAddr,
    /// One for each service; at least one.
    instances: Vec<Instance>,
    /// How often it was asked to stop.
    asked: watch::Sender<u32>,
    state: watch::Sender<ServerState>,
    /// Those of the registrars, in the order of the instances.
    registrars: watch::Sender<Vec<Arc<RegistrarState>>>,
}

impl ServerHandle {
    pub(super) fn new(local_addr: SocketAddr, instances: Vec<Instance>) -> Self {
        let starting = Arc::new(RegistrarState::Starting { error: None });
        let registrars = watch::Sender::new(vec![starting; instances.len()]);
        let (asked, state) = (watch::Sender::new(0), watch::Sender::default());
        Self { shared: Arc::new(Shared { local_addr, instances, asked, state, registrars }) }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// What it registers; with several services, as a copy of the first.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        // There is one for each service, and one service at least.
        &self.shared.instances[0]
    }

    /// What it registers, for each of its services in the order given.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.shared.instances
    }

    /// Asks it to stop in order: to drain, deregister, and finish what is in flight. Asking
    /// again, once a step has begun, cuts that step short.
    pub fn shutdown(&self) {
        self.shared.asked.send_modify(|asked| *asked = asked.saturating_add(1));
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> ServerState {
        self.shared.state.borrow().clone()
    }

    /// Waits until its state satisfies `wanted`, and gives it; waits for ever when that never happens, so put a timeout around it. States
    /// that pass quickly may be skipped.
    pub async fn wait_until_state(&self, mut wanted: impl FnMut(&ServerState) -> bool) -> ServerState {
        let mut states = self.shared.state.subscribe();
        match states.wait_for(|state| wanted(state)).await {
            Ok(state) => state.clone(),
            // The sender is in `self`.
            Err(_) => self.state(),
        }
    }

    /// The state of its registrar; with several services, of that of the first.
    #[must_use]
    pub fn registrar_state(&self) -> Arc<RegistrarState> {
        Arc::clone(&self.shared.registrars.borrow()[0])
    }

    /// The states of its registrars, for each of its services in the order given.
    #[must_use]
    pub fn registrar_states(&self) -> Vec<(ServiceName, Arc<RegistrarState>)> {
        let services = self.shared.instances.iter().map(|instance| instance.service().clone());
        services.zip(self.shared.registrars.borrow().iter().cloned()).collect()
    }

    /// Waits until the state of its registrar, with several services that of every one, satisfies `wanted`, and gives that of the
    /// first; waits for ever when that never happens, so put a timeout around it.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&RegistrarState) -> bool) -> Arc<RegistrarState> {
        let mut states = self.shared.registrars.subscribe();
        match states.wait_for(|states| states.iter().all(|state| wanted(state))).await {
            Ok(states) => Arc::clone(&states[0]),
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

    /// Follows the state without keeping the handle.
    pub(super) fn follow_state(&self) -> watch::Receiver<ServerState> {
        self.shared.state.subscribe()
    }

    pub(super) fn follow_registrars(&self) -> watch::Receiver<Vec<Arc<RegistrarState>>> {
        self.shared.registrars.subscribe()
    }

    pub(super) fn show(&self, state: ServerState) {
        let instance = self.instance();
        let (name, reason) = match &state {
            ServerState::Unhealthy { reason } => ("unhealthy", Some(Arc::clone(reason))),
            state => (state.name(), None),
        };
        let modified = self.shared.state.send_if_modified(|shown| {
            let modified = *shown != state;
            if modified {
                *shown = state;
            }
            modified
        });
        if modified {
            tracing::info!(service = %instance.service(), id = %instance.id(), state = name, reason = reason.as_deref());
        }
    }

    /// Shows the state of the registrar of the service at `at`. Closed says nothing new of one that is fenced.
    pub(super) fn show_registrar(&self, at: usize, state: Arc<RegistrarState>) {
        self.shared.registrars.send_modify(|states| {
            let closed = matches!(*state, RegistrarState::Closed { error: None });
            if let Some(shown) = states.get_mut(at)
                && !(closed && matches!(**shown, RegistrarState::Fenced { .. }))
            {
                *shown = state;
            }
        });
    }

    /// Completes when no registrar keeps anything registered any more.
    pub(super) async fn left(&self) {
        self.wait_until(is_gone).await;
    }

    /// Shows that server and registrars are gone, unless a registrar has said so itself.
    fn close(&self) {
        self.show(ServerState::Ended);
        self.shared.registrars.send_modify(|states| {
            for state in states.iter_mut().filter(|state| !is_gone(state)) {
                *state = Arc::new(RegistrarState::Closed { error: None });
            }
        });
    }
}

fn is_gone(state: &RegistrarState) -> bool {
    matches!(state, RegistrarState::Closed { .. } | RegistrarState::Fenced { .. })
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("local_addr", &self.shared.local_addr)
            .field("instances", &self.shared.instances)
            .field("state", &self.state())
            .field("registrars", &*self.shared.registrars.borrow())
            .finish_non_exhaustive()
    }
}

/// However a server ends, and also when it or its future is dropped: its handle does not go on saying that it is registered.
#[derive(Debug)]
pub(super) struct Open(pub(super) ServerHandle);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}
