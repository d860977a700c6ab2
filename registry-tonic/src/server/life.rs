//! The life of a server: serving and registered, then draining, then finishing.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;

use registry_core::{Error, ErrorKind, Operation, Registrar, RegistrarState, RegistrarStates, WhenFenced};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{Plan, ServerError, ServerHandle};

/// What ends the serving.
enum End {
    /// It was asked to stop.
    Asked,
    /// The registration cannot go on.
    Lost(ServerError),
    /// Serving ended by itself.
    Served(ServerError),
}

/// However a server ends, and also when its future is dropped: its handle does not go on saying that it is registered.
struct Closing<'a>(&'a ServerHandle);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves and keeps registered until asked to stop, and stops in order.
pub(super) async fn live<F, E>(
    serving: F,
    stopper: oneshot::Sender<()>,
    handle: &ServerHandle,
    plan: Plan,
) -> Result<(), ServerError>
where
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let _shown = Closing(handle);
    let mut serving = pin!(async { serving.await.map_err(|error| ServerError::Serving(error.into())) });
    // Registered only once it accepts calls, which it does from its first poll on.
    if let Some(ended) = futures_util::FutureExt::now_or_never(serving.as_mut()) {
        return Err(ended_early(ended));
    }
    let stays_fenced = plan.registrar.when_fenced == WhenFenced::Stop;
    let registrar = Registrar::start(plan.registry, handle.instance().clone(), plan.registrar);
    let mut states = registrar.states();
    let on_signals = plan.shutdown.is_none();
    let mut shutdown = plan.shutdown.unwrap_or_else(|| Box::pin(signal()));

    let end = tokio::select! {
        biased;
        () = &mut shutdown => End::Asked,
        () = handle.asked_after(0) => End::Asked,
        error = lost(&mut states, handle, stays_fenced) => End::Lost(error),
        ended = serving.as_mut() => End::Served(ended_early(ended)),
    };
    let lost = match end {
        End::Served(error) => {
            let _ = registrar.shutdown().await;
            return Err(error);
        }
        // The entry is another's by now.
        End::Lost(error) => Some(error),
        End::Asked => {
            tracing::info!(service = %handle.instance().service(), id = %handle.instance().id(), "draining");
            let seen = handle.times_asked();
            tokio::select! {
                // What it could not do, it has logged; the entry goes when its lease ends.
                _ = registrar.drain(plan.drain_grace) => {}
                // Its future dropped, it deregisters in the background.
                () = asked_again(handle, seen, on_signals) => {}
                () = forward(&mut states, handle) => {}
                ended = serving.as_mut() => return Err(ended_early(ended)),
            }
            handle.shared.state.send_replace(states.get());
            None
        }
    };

    let _ = stopper.send(());
    let (began, seen) = (Instant::now(), handle.times_asked());
    let finished = tokio::select! {
        finished = timeout(plan.finish_within, serving) => finished.ok(),
        () = asked_again(handle, seen, on_signals) => None,
    };
    match (lost, finished) {
        (Some(error), _) => Err(error),
        (None, Some(result)) => result,
        (None, None) => Err(ServerError::Unfinished { after: began.elapsed().min(plan.finish_within) }),
    }
}

fn ended_early(ended: Result<(), ServerError>) -> ServerError {
    ended.err().unwrap_or_else(|| ServerError::Serving("it ended without having been asked to".into()))
}

/// Waits until the registration is lost for good.
async fn lost(states: &mut RegistrarStates, handle: &ServerHandle, stays_fenced: bool) -> ServerError {
    loop {
        let state = states.changed().await;
        handle.shared.state.send_replace(state.clone());
        match &*state {
            RegistrarState::Fenced { error, .. } if stays_fenced => {
                return ServerError::Fenced(error.clone());
            }
            RegistrarState::Closed { error } => {
                let closed = || Error::new(ErrorKind::Closed, Operation::Register, "closed without a reason");
                return ServerError::Unregistered(error.clone().unwrap_or_else(closed));
            }
            _ => {}
        }
    }
}

/// Shows the states of the registrar on the handle. Never completes.
async fn forward(states: &mut RegistrarStates, handle: &ServerHandle) {
    loop {
        let state = states.changed().await;
        let last = matches!(*state, RegistrarState::Closed { .. });
        handle.shared.state.send_replace(state);
        if last {
            return std::future::pending().await;
        }
    }
}

/// Completes when it was asked to stop again, after the `seen` times.
async fn asked_again(handle: &ServerHandle, seen: u32, on_signals: bool) {
    tokio::select! {
        () = handle.asked_after(seen) => {}
        () = signal(), if on_signals => {}
    }
}

/// Completes on the next SIGTERM or SIGINT.
async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    result = interrupt => or_never(result).await,
                }
            }
            Err(error) => {
                or_never(Err(error)).await;
            }
        }
    }
    #[cfg(not(unix))]
    or_never(interrupt.await).await;
}

/// A server without signal handlers can still be stopped through its handle.
async fn or_never(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "signals cannot be handled; stop the server through its handle");
        std::future::pending::<()>().await;
    }
}
