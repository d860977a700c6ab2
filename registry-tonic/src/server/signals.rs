//! What asks a server to stop.

use std::future::pending;

use super::{ServerHandle, Shutdown};

/// Its handle, and besides that what its caller gave, or else signals.
pub(super) struct Asks<'a> {
    handle: &'a ServerHandle,
    /// How often its handle had been asked when the present step began.
    seen: u32,
    outside: Outside,
}

enum Outside {
    Given(Shutdown),
    Signals(Signals),
    /// What was given asks once.
    Spent,
}

impl<'a> Asks<'a> {
    /// Signals that come from now on count; nothing before the first call of [`next`](Self::next) is lost.
    pub(super) fn new(handle: &'a ServerHandle, given: Option<Shutdown>) -> Self {
        let outside = given.map_or_else(|| Outside::Signals(Signals::new()), Outside::Given);
        Self { handle, seen: 0, outside }
    }

    /// Begins a step: what its handle was asked before does not cut it short.
    pub(super) fn begin(&mut self) {
        self.seen = self.handle.times_asked();
    }

    /// Completes when it is asked. Dropping this loses nothing.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            biased;
            () = self.handle.asked_after(self.seen) => {}
            () = self.outside.next() => {}
        }
    }
}

impl Outside {
    async fn next(&mut self) {
        match self {
            Self::Given(given) => {
                given.as_mut().await;
                *self = Self::Spent;
            }
            Self::Signals(signals) => signals.next().await,
            Self::Spent => pending().await,
        }
    }
}

/// SIGTERM and SIGINT.
#[cfg(unix)]
struct Signals {
    terminate: Option<tokio::signal::unix::Signal>,
    interrupt: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            terminate: handled(signal(SignalKind::terminate())),
            interrupt: handled(signal(SignalKind::interrupt())),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = received(&mut self.terminate) => {}
            () = received(&mut self.interrupt) => {}
        }
    }
}

#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        pending::<()>().await;
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        if handled(tokio::signal::ctrl_c().await).is_none() {
            pending::<()>().await;
        }
    }
}

/// A server without signal handlers can still be stopped through its handle.
fn handled<T>(result: std::io::Result<T>) -> Option<T> {
    result
        .inspect_err(
            |error| tracing::error!(%error, "signals cannot be handled; stop the server through its handle"),
        )
        .ok()
}
