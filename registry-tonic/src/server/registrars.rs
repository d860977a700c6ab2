//! The registrars of one server: one for each of its services.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{
    Error, ErrorKind, Instance, Operation, Registrar, RegistrarOptions, RegistrarState, RegistrarStates,
    Registry, Status, WhenFenced,
};
use tokio::time::sleep;

use super::{ServerError, ServerHandle};

/// The wait after the registry has refused a change of status.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Registrars {
    each: Vec<(Registrar, Instance)>,
}

impl Registrars {
    /// Starts registering all that `handle` shows.
    pub(super) fn start(
        registry: &Arc<dyn Registry>,
        options: &RegistrarOptions,
        handle: &ServerHandle,
    ) -> Self {
        let start = |(instance, nth): (&Instance, u64)| {
            // So that they do not beat in step.
            let options = options.clone().with_seed(options.seed.wrapping_add(nth));
            (Registrar::start(Arc::clone(registry), instance.clone(), options), instance.clone())
        };
        Self { each: handle.instances().iter().zip(0..).map(start).collect() }
    }

    pub(super) fn states(&self) -> Vec<RegistrarStates> {
        self.each.iter().map(|(registrar, _)| registrar.states()).collect()
    }

    /// Publishes the status of all, and waits until it is published, or cannot be any more. Dropping this does not take it back.
    pub(super) async fn publish(&self, status: Status) {
        join_all(self.each.iter().map(|(registrar, instance)| async move {
            let wanted = instance.clone().with_status(status);
            loop {
                let error = match registrar.update(wanted.clone()).await {
                    Ok(_) => return,
                    // Its state tells that; one that is fenced publishes it should it return.
                    Err(error) if is_told_by_state(&error) => return,
                    Err(error) => error,
                };
                tracing::warn!(service = %instance.service(), id = %instance.id(), %error, ?status, "not published");
                sleep(AGAIN).await;
            }
        }))
        .await;
    }

    /// Leaves in order, all at the same time. What it could not do, it has logged; an entry goes when its lease ends.
    ///
    /// # Dropping the future
    /// They deregister in the background, without the rest of the grace.
    pub(super) async fn drain(self, grace: Duration) {
        join_all(self.each.into_iter().map(|(registrar, _)| registrar.drain(grace))).await;
    }
}

fn is_told_by_state(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::AlreadyRegistered)
}

/// Shows the states of the registrars on the handle. Never completes.
pub(super) async fn follow(states: Vec<RegistrarStates>, handle: &ServerHandle) {
    join_all(states.into_iter().enumerate().map(|(at, mut states)| async move {
        loop {
            let state = states.changed().await;
            let last = matches!(*state, RegistrarState::Closed { .. });
            handle.show_registrar(at, state);
            if last {
                return;
            }
        }
    }))
    .await;
    std::future::pending().await
}

/// What the registrars of a server say of it together.
pub(super) enum Standing {
    /// Registered, or trying to be.
    Fine,
    /// One is fenced, and waits for its id to be free.
    Fenced,
    /// One is lost for good.
    Lost(ServerError),
}

impl Standing {
    pub(super) fn of(
        states: &[Arc<RegistrarState>],
        instances: &[Instance],
        when_fenced: WhenFenced,
    ) -> Self {
        let mut standing = Self::Fine;
        for (state, instance) in states.iter().zip(instances) {
            let service = || instance.service().clone();
            match &**state {
                RegistrarState::Fenced { error, .. } if when_fenced == WhenFenced::Stop => {
                    return Self::Lost(ServerError::Fenced { service: service(), source: error.clone() });
                }
                RegistrarState::Fenced { .. } => standing = Self::Fenced,
                RegistrarState::Closed { error } => {
                    let closed =
                        || Error::new(ErrorKind::Closed, Operation::Register, "closed without a reason");
                    let source = error.clone().unwrap_or_else(closed);
                    return Self::Lost(ServerError::Unregistered { service: service(), source });
                }
                _ => {}
            }
        }
        standing
    }
}
