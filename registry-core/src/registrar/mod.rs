//! Keeps one registration true for as long as it lives.

mod newest;
mod options;
mod state;
mod teller;
mod worker;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use tokio::sync::{mpsc, oneshot};

pub use self::options::{RegistrarOptions, WhenFenced};
pub use self::state::RegistrarState;
use crate::cursor::Revision;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::instance::Instance;
use crate::lease::Registration;
use crate::published::{Reader, published};
use crate::registry::Registry;
use newest::{Offers, newest};
use teller::Teller;
use worker::{Command, Worker};

/// Keeps one instance registered for as long as it lives: heartbeats, registering anew after a lost lease, an outage or a wipe,
/// publishing changes, and leaving in order.
///
/// Its state is visible ([`state`](Self::state)). It never gives up by itself, with two exceptions: another process took the
/// id over ([`Fenced`](RegistrarState::Fenced)), or the registry refused its first registration in a way that no retry mends
/// ([`Closed`](RegistrarState::Closed)).
///
/// **Dropping it** deregisters in the background, within [`shutdown_timeout`](RegistrarOptions::shutdown_timeout) and as long as
/// the runtime runs. [`shutdown`](Self::shutdown) does the same and can be waited for.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// # use std::sync::Arc;
/// # use registry_core::{Instance, Registrar, RegistrarOptions, Registry, Result};
/// # async fn serve(registry: Arc<dyn Registry>) -> Result<()> {
/// let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:8080").build()?;
/// let registrar = Registrar::start(registry, instance, RegistrarOptions::default());
/// registrar.registered().await?;
/// // … serve …
/// registrar.drain(std::time::Duration::from_secs(5)).await
/// # }
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Registrar {
    state: Reader<RegistrarState>,
    commands: mpsc::UnboundedSender<Command>,
    offers: Offers,
    abort: AbortHandle,
    /// The handle waits this long at most for the worker to leave.
    patience: Duration,
}

impl Registrar {
    /// Starts keeping `instance` registered with `registry`. Returns at once; the first registration happens in the background.
    ///
    /// Must be called within a tokio runtime, and needs its timer.
    pub fn start(registry: Arc<dyn Registry>, instance: Instance, options: RegistrarOptions) -> Self {
        let (registrar, run) = Self::build(instance, options, std::future::ready(Ok(registry)));
        tokio::spawn(run);
        registrar
    }

    /// As [`start`](Self::start), on a thread with a runtime of its own, so that a blocked main runtime does not cost the lease.
    ///
    /// `connect` makes the registry's client inside that runtime: a client made elsewhere would do its input and output
    /// on the runtime that may be blocked. When it fails, the registrar is closed with its error: connecting waits for no server, so
    /// that is a mistake in the set-up.
    ///
    /// Neither this nor the registrar needs a runtime around it.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start_on_thread<F>(connect: F, instance: Instance, options: RegistrarOptions) -> Result<Self>
    where
        F: Future<Output = Result<Arc<dyn Registry>>> + Send + 'static,
    {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, Operation::Register, "no thread for the registrar")
                .with_source(error)
        };
        let name = options.thread_name.clone();
        let (registrar, run) = Self::build(instance, options, connect);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new().name(name).spawn(move || runtime.block_on(run)).map_err(failed)?;
        Ok(registrar)
    }

    fn build(
        instance: Instance,
        options: RegistrarOptions,
        connect: impl Future<Output = Result<Arc<dyn Registry>>> + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (publisher, state) = published(RegistrarState::Starting { error: None });
        let (commands, receiver) = mpsc::unbounded_channel();
        let (offers, newest) = newest(&instance);
        let patience = options.shutdown_timeout;
        let run = async move {
            let teller = Teller::new(publisher, instance.service(), &options);
            let mut receiver: mpsc::UnboundedReceiver<Command> = receiver;
            let mut backlog = Vec::new();
            let mut connect = std::pin::pin!(connect);
            let connected = loop {
                tokio::select! {
                    biased;
                    connected = &mut connect => break connected,
                    command = receiver.recv() => match command {
                        // Nothing is registered yet that could be left.
                        None => break Err(closed()),
                        Some(command) => match command.leave() {
                            Ok(reply) => {
                                Worker::refuse(None, teller);
                                let _ = reply.send(Ok(()));
                                return;
                            }
                            Err(command) => backlog.push(command),
                        },
                    }
                }
            };
            match connected {
                Ok(registry) => {
                    Worker::new(registry, instance, options, teller, receiver, newest).run(backlog).await;
                }
                Err(error) => Worker::refuse(Some(error), teller),
            }
        };
        let (run, abort) = abortable(run);
        let registrar = Self { state, commands, offers, abort, patience };
        (registrar, async move {
            // Aborted is how `abandon` ends it.
            let _ = run.await;
        })
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> Arc<RegistrarState> {
        current(&self.state)
    }

    /// A reader of the state that can wait for changes.
    #[must_use]
    pub fn states(&self) -> RegistrarStates {
        RegistrarStates { reader: self.state.fresh() }
    }

    /// Waits until the instance is registered, and gives the registration.
    ///
    /// # Errors
    /// [`AlreadyRegistered`](ErrorKind::AlreadyRegistered) when it is fenced; what it was closed with when it is closed. While
    /// the registry cannot be reached this waits; put a timeout around it where that is not wanted. Dropping the future
    /// changes nothing.
    pub async fn registered(&self) -> Result<Registration> {
        let mut states = self.states();
        loop {
            let state = states.changed().await;
            match &*state {
                RegistrarState::Registered { registration, .. } => return Ok(registration.clone()),
                RegistrarState::Fenced { error, .. } => return Err(error.clone()),
                RegistrarState::Closed { error } => return Err(error.clone().unwrap_or_else(closed)),
                _ => {}
            }
        }
    }

    /// Publishes a changed instance, and waits until it, or a newer one, is published: of changes that come faster than the registry takes them, only the
    /// newest is published, and who asked for one before it is answered as for that.
    ///
    /// While the registry is away, and while it is paused, this waits; the change is kept and published later. Dropping the future
    /// does not take the change back. What the registry refuses is dropped. While it is fenced
    /// this is an error; should it return, it publishes the change.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when service or id differ; [`AlreadyRegistered`](ErrorKind::AlreadyRegistered) when fenced;
    /// [`Closed`](ErrorKind::Closed).
    pub async fn update(&self, instance: Instance) -> Result<Revision> {
        match self.offers.offer(instance)? {
            Some(answer) => self.answer(answer).await,
            None => Err(self.why_closed()),
        }
    }

    /// Takes the instance off the registry until [`resume`](Self::resume), and waits until it is off.
    ///
    /// While the registry is away this returns the error; it goes on trying, and the entry goes when its lease ends at the latest.
    ///
    /// # Errors
    /// Those of [`deregister`](Registry::deregister); [`Closed`](ErrorKind::Closed).
    pub async fn pause(&self) -> Result<()> {
        self.ask(Command::Pause).await
    }

    /// Registers again after [`pause`](Self::pause). Does not wait until that has happened.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    pub async fn resume(&self) -> Result<()> {
        self.ask(Command::Resume).await
    }

    /// Leaves in order: marks the instance as draining, keeps it alive for `grace` so that clients move away, then
    /// deregisters. Fenced or paused, it ends without the grace. Takes at most `grace` plus [`shutdown_timeout`](RegistrarOptions::shutdown_timeout), also when the registry is
    /// down.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    ///
    /// # Dropping the future
    /// As dropping the registrar: it deregisters in the background, without the rest of the grace.
    pub async fn drain(self, grace: Duration) -> Result<()> {
        let patience = grace.saturating_add(self.patience);
        self.leave(|reply| Command::Drain(grace, reply), patience).await
    }

    /// Deregisters and ends, within [`shutdown_timeout`](RegistrarOptions::shutdown_timeout), also when the registry is down.
    ///
    /// # Errors
    /// When it is not known to be deregistered: it ends all the same, and the entry goes when its lease ends.
    ///
    /// # Dropping the future
    /// As dropping the registrar: it deregisters in the background.
    pub async fn shutdown(self) -> Result<()> {
        let patience = self.patience;
        self.leave(Command::Shutdown, patience).await
    }

    /// Stops without a word, as a crash would: the entry goes when its lease ends. For tests.
    pub fn abandon(self) {
        self.abort.abort();
    }

    async fn leave(
        self,
        command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command,
        patience: Duration,
    ) -> Result<()> {
        // Without a runtime there is no timer; the worker, which has one, is bounded all the same once it obeys.
        if tokio::runtime::Handle::try_current().is_err() {
            return self.ask(command).await;
        }
        match tokio::time::timeout(patience, self.ask(command)).await {
            Ok(result) => result,
            Err(_) => {
                self.abort.abort();
                let message = format!(
                    "not known to be deregistered after {patience:?}; the entry goes when its lease ends"
                );
                Err(Error::new(ErrorKind::Timeout, Operation::Deregister, message))
            }
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).is_err() {
            return Err(self.why_closed());
        }
        self.answer(answer).await
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        answer.await.unwrap_or_else(|_| Err(self.why_closed()))
    }

    fn why_closed(&self) -> Error {
        match &**self.state.load() {
            RegistrarState::Closed { error: Some(error) } => error.clone(),
            _ => closed(),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, Operation::Register, "the registrar has ended")
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("state", &self.state.load()).finish_non_exhaustive()
    }
}

/// Follows the state of a [`Registrar`].
#[derive(Clone)]
pub struct RegistrarStates {
    reader: Reader<RegistrarState>,
}

impl RegistrarStates {
    /// The present state.
    #[must_use]
    pub fn get(&self) -> Arc<RegistrarState> {
        current(&self.reader)
    }

    /// The present state the first time, then the next one; states that follow each other faster than this is called are skipped.
    /// After the end it gives the final state at once, every time.
    pub async fn changed(&mut self) -> Arc<RegistrarState> {
        self.reader.changed().await;
        self.get()
    }
}

/// The state; closed, whatever it was last, when nothing keeps the entry alive any more: it was abandoned, or its runtime is gone.
fn current(reader: &Reader<RegistrarState>) -> Arc<RegistrarState> {
    let gone = reader.is_closed();
    let state = Arc::clone(&reader.load());
    match *state {
        RegistrarState::Closed { .. } => state,
        _ if gone => Arc::new(RegistrarState::Closed { error: Some(closed()) }),
        _ => state,
    }
}

impl fmt::Debug for RegistrarStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistrarStates").field(&self.reader.load()).finish()
    }
}
