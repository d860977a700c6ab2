//! The task behind a registrar: one phase at a time, woken by commands and by its own schedule.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::options::{RegistrarOptions, WhenFenced, heartbeat_interval, operation_timeout};
use super::state::RegistrarState;
use crate::backoff::Backoff;
use crate::cursor::Revision;
use crate::error::{Error, ErrorKind, Operation, Result, Retry};
use crate::instance::{Instance, Status};
use crate::lease::{Incarnation, OnConflict, Registration};
use crate::published::Publisher;
use crate::registry::Registry;

type Reply<T> = oneshot::Sender<Result<T>>;

pub(super) enum Command {
    Update(Box<Instance>, Reply<Revision>),
    Pause(Reply<()>),
    Resume(Reply<()>),
    Drain(Duration, Reply<()>),
    Shutdown(Reply<()>),
}

enum Phase {
    /// No lease is known; the next attempt is at `at`.
    Acquiring { attempt: u32, at: Instant },
    /// A lease is held, as far as is known.
    Holding(Held),
    /// Another process holds the id; asks again at `again`.
    Fenced { again: Option<Instant> },
    /// Taken off on request.
    Paused,
}

struct Held {
    registration: Registration,
    /// The end of what the last acknowledged heartbeat bought.
    valid_until: Instant,
    beat_at: Instant,
    /// When to publish the desired instance; `None` when it is published.
    publish_at: Option<Instant>,
    failures: u32,
    leaving: Option<Leaving>,
}

struct Leaving {
    until: Instant,
    reply: Reply<()>,
}

pub(super) struct Worker {
    registry: Arc<dyn Registry>,
    options: RegistrarOptions,
    publisher: Publisher<RegistrarState>,
    commands: mpsc::UnboundedReceiver<Command>,
    rng: fastrand::Rng,
    phase: Phase,
    /// What should be published.
    desired: Instance,
    /// The incarnation held last; to be reclaimed.
    incarnation: Option<Incarnation>,
    /// Whether an attempt to register ended without an answer, so that there may be an entry whose lease is not known.
    in_doubt: bool,
    /// Who waits until the desired instance is published.
    waiting: Vec<Reply<Revision>>,
}

impl Worker {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        instance: Instance,
        options: RegistrarOptions,
        publisher: Publisher<RegistrarState>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            registry,
            rng: fastrand::Rng::with_seed(options.seed),
            options,
            publisher,
            commands,
            phase: Phase::Acquiring { attempt: 0, at: Instant::now() },
            desired: instance,
            incarnation: None,
            in_doubt: false,
            waiting: Vec::new(),
        }
    }

    pub(super) fn refuse(error: Error, mut publisher: Publisher<RegistrarState>) {
        publisher.publish(RegistrarState::Closed { error: Some(error) });
    }

    pub(super) async fn run(mut self) {
        loop {
            let wake = self.phase.wake();
            let flow = tokio::select! {
                biased;
                command = self.commands.recv() => self.command(command).await,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.tick().await,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    async fn command(&mut self, command: Option<Command>) -> ControlFlow<()> {
        match command {
            None => self.finish(None).await,
            Some(Command::Shutdown(reply)) => self.finish(Some(reply)).await,
            Some(Command::Drain(grace, reply)) => self.drain(grace, reply).await,
            Some(Command::Update(instance, reply)) => {
                self.want(*instance, reply);
                ControlFlow::Continue(())
            }
            Some(Command::Pause(reply)) => {
                let result = self.release(Instant::now()).await;
                self.phase = Phase::Paused;
                self.show(RegistrarState::Paused);
                let _ = reply.send(result);
                ControlFlow::Continue(())
            }
            Some(Command::Resume(reply)) => {
                if matches!(self.phase, Phase::Paused) {
                    self.phase = Phase::Acquiring { attempt: 0, at: Instant::now() };
                    self.show(RegistrarState::Starting { error: None });
                }
                let _ = reply.send(Ok(()));
                ControlFlow::Continue(())
            }
        }
    }

    fn want(&mut self, instance: Instance, reply: Reply<Revision>) {
        let mismatch = if instance.service() != self.desired.service() {
            Some("service name")
        } else if instance.id() != self.desired.id() {
            Some("instance id")
        } else {
            None
        };
        if let Some(field) = mismatch {
            let error = Error::invalid(field, "is not the one registered; start another registrar for it");
            let _ = reply.send(Err(error.with_operation(Operation::Update)));
            return;
        }
        self.desired = instance;
        match &mut self.phase {
            Phase::Holding(held) => {
                held.publish_at = Some(Instant::now());
                self.waiting.push(reply);
            }
            Phase::Fenced { .. } => {
                let _ = reply.send(Err(self.fenced_error()));
            }
            Phase::Acquiring { .. } | Phase::Paused => self.waiting.push(reply),
        }
    }

    async fn tick(&mut self) -> ControlFlow<()> {
        let now = Instant::now();
        match &mut self.phase {
            Phase::Acquiring { attempt, .. } => {
                let attempt = *attempt;
                self.acquire(attempt).await
            }
            Phase::Fenced { .. } => self.return_if_absent().await,
            Phase::Holding(held) if held.leaving.as_ref().is_some_and(|leaving| leaving.until <= now) => {
                let reply = held.leaving.take().map(|leaving| leaving.reply);
                self.finish(reply).await
            }
            // The heartbeat first: what keeps the entry alive must not wait for what changes it.
            Phase::Holding(held) if held.beat_at <= now => self.beat().await,
            Phase::Holding(_) => self.publish_desired().await,
            Phase::Paused => ControlFlow::Continue(()),
        }
    }

    async fn acquire(&mut self, attempt: u32) -> ControlFlow<()> {
        let mut options = self.options.register.clone();
        if let Some(incarnation) = self.incarnation {
            options = options.with_on_conflict(OnConflict::Reclaim).with_claim(incarnation);
        }
        let invoked = Instant::now();
        let registered =
            within(self.limit(), Operation::Register, self.registry.register(&self.desired, &options)).await;
        match registered {
            Ok(registration) => self.hold(registration, invoked),
            Err(error) if error.kind() == ErrorKind::AlreadyRegistered => self.fenced(error),
            Err(error) if error.retry() == Retry::Never => return self.close(error),
            Err(error) => {
                self.doubt(&error);
                let delay = self.delay(&error, attempt);
                self.phase =
                    Phase::Acquiring { attempt: attempt.saturating_add(1), at: Instant::now() + delay };
                self.show_trouble(error);
            }
        }
        ControlFlow::Continue(())
    }

    fn hold(&mut self, registration: Registration, invoked: Instant) {
        tracing::info!(service = %self.desired.service(), id = %self.desired.id(),
            revision = %registration.revision, "registered");
        self.in_doubt = false;
        self.incarnation = Some(registration.lease.incarnation());
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(registration.revision));
        }
        self.phase = Phase::Holding(Held {
            valid_until: registration.ttl.deadline(invoked),
            beat_at: invoked + heartbeat_interval(registration.ttl, self.rng.f64()),
            publish_at: None,
            failures: 0,
            leaving: None,
            registration: registration.clone(),
        });
        self.show(RegistrarState::Registered { registration, error: None });
    }

    async fn beat(&mut self) -> ControlFlow<()> {
        let Phase::Holding(held) = &self.phase else { return ControlFlow::Continue(()) };
        let lease = &held.registration.lease;
        let invoked = Instant::now();
        let result = within(self.limit(), Operation::Keepalive, self.registry.keepalive(lease)).await;
        let jitter = self.rng.f64();
        let Phase::Holding(held) = &mut self.phase else { return ControlFlow::Continue(()) };
        match result {
            Ok(()) => {
                held.failures = 0;
                held.valid_until = held.registration.ttl.deadline(invoked);
                held.beat_at = invoked + heartbeat_interval(held.registration.ttl, jitter);
                self.show_held(None);
                ControlFlow::Continue(())
            }
            Err(error) => self.holding_failed(error, |held, at| held.beat_at = at).await,
        }
    }

    async fn publish_desired(&mut self) -> ControlFlow<()> {
        let Phase::Holding(held) = &self.phase else { return ControlFlow::Continue(()) };
        let lease = &held.registration.lease;
        let updated =
            within(self.limit(), Operation::Update, self.registry.update(lease, &self.desired)).await;
        let Phase::Holding(held) = &mut self.phase else { return ControlFlow::Continue(()) };
        match updated {
            Ok(revision) => {
                held.publish_at = None;
                self.published(&Ok(revision));
                ControlFlow::Continue(())
            }
            Err(error) if error.retry() == Retry::Never => {
                held.publish_at = None;
                self.published(&Err(error));
                ControlFlow::Continue(())
            }
            Err(error) => self.holding_failed(error, |held, at| held.publish_at = Some(at)).await,
        }
    }

    fn published(&mut self, result: &Result<Revision>) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    /// A heartbeat or an update failed: the lease is lost, or it is tried again, at the time given to `again`.
    async fn holding_failed(
        &mut self,
        error: Error,
        again: impl FnOnce(&mut Held, Instant),
    ) -> ControlFlow<()> {
        let Phase::Holding(held) = &mut self.phase else { return ControlFlow::Continue(()) };
        if error.kind() == ErrorKind::LeaseLost {
            tracing::warn!(service = %self.desired.service(), id = %self.desired.id(), %error, "lease lost");
            let leaving = held.leaving.take();
            self.phase = Phase::Acquiring { attempt: 0, at: Instant::now() };
            if let Some(leaving) = leaving {
                // What was to be removed is gone already.
                return self.finish(Some(leaving.reply)).await;
            }
            self.show_trouble(error);
            return ControlFlow::Continue(());
        }
        let failures = held.failures;
        held.failures = failures.saturating_add(1);
        let delay = self.delay(&error, failures);
        if let Phase::Holding(held) = &mut self.phase {
            again(held, Instant::now() + delay);
        }
        self.show_held(Some(error));
        ControlFlow::Continue(())
    }

    fn fenced(&mut self, error: Error) {
        tracing::warn!(service = %self.desired.service(), id = %self.desired.id(), %error, "fenced");
        self.in_doubt = false;
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
        self.phase = Phase::Fenced { again: self.ask_again_at() };
        self.show(RegistrarState::Fenced { since: Instant::now(), error });
    }

    fn ask_again_at(&mut self) -> Option<Instant> {
        match self.options.when_fenced {
            WhenFenced::Stop => None,
            WhenFenced::ReturnWhenAbsent => {
                Some(Instant::now() + self.options.register.ttl.get().mul_f64(0.75 + 0.25 * self.rng.f64()))
            }
        }
    }

    async fn return_if_absent(&mut self) -> ControlFlow<()> {
        // Reclaim: what a lower incarnation, or a foreign writer without one, left behind must not keep the id for ever.
        let mut options = self.options.register.clone().with_on_conflict(OnConflict::Reclaim);
        if let Some(incarnation) = self.incarnation {
            options = options.with_claim(incarnation);
        }
        let invoked = Instant::now();
        match within(self.limit(), Operation::Register, self.registry.register(&self.desired, &options)).await
        {
            Ok(registration) => self.hold(registration, invoked),
            Err(error) => {
                if error.kind() != ErrorKind::AlreadyRegistered {
                    self.doubt(&error);
                }
                self.phase = Phase::Fenced { again: self.ask_again_at() };
            }
        }
        ControlFlow::Continue(())
    }

    async fn drain(&mut self, grace: Duration, reply: Reply<()>) -> ControlFlow<()> {
        let Phase::Holding(held) = &mut self.phase else { return self.finish(Some(reply)).await };
        let now = Instant::now();
        let until = now + grace;
        held.leaving = Some(Leaving { until, reply });
        held.publish_at = Some(now);
        self.desired = self.desired.clone().with_status(Status::Draining);
        self.show(RegistrarState::Draining { until });
        ControlFlow::Continue(())
    }

    async fn finish(&mut self, reply: Option<Reply<()>>) -> ControlFlow<()> {
        let result = self.release(Instant::now() + self.options.shutdown_timeout).await;
        if let Err(error) = &result {
            tracing::warn!(service = %self.desired.service(), id = %self.desired.id(), %error,
                "left without deregistering; the entry goes when its lease ends");
        }
        self.show(RegistrarState::Closed { error: None });
        if let Some(reply) = reply {
            let _ = reply.send(result);
        }
        ControlFlow::Break(())
    }

    fn close(&mut self, error: Error) -> ControlFlow<()> {
        self.published(&Err(error.clone()));
        self.show(RegistrarState::Closed { error: Some(error) });
        ControlFlow::Break(())
    }

    /// Deregisters what is held or may be held; tries again until `deadline`, and at least once.
    async fn release(&mut self, deadline: Instant) -> Result<()> {
        for attempt in 0.. {
            let error = match self.try_release().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let delay = self.delay(&error, attempt);
            if Instant::now() + delay >= deadline {
                return Err(error);
            }
            sleep(delay).await;
        }
        Ok(())
    }

    async fn try_release(&mut self) -> Result<()> {
        if self.in_doubt {
            // The same token gives the lease of the attempt whose answer was lost.
            let options = self.options.register.clone().with_on_conflict(OnConflict::Refuse);
            let instance = self.desired.clone().with_status(Status::Draining);
            let invoked = Instant::now();
            match within(self.limit(), Operation::Register, self.registry.register(&instance, &options)).await
            {
                Ok(registration) => self.hold(registration, invoked),
                Err(error) if error.kind() == ErrorKind::AlreadyRegistered => self.in_doubt = false,
                Err(error) => return Err(error),
            }
        }
        if let Phase::Holding(held) = &self.phase {
            let lease = &held.registration.lease;
            within(self.limit(), Operation::Deregister, self.registry.deregister(lease)).await?;
        }
        Ok(())
    }

    fn doubt(&mut self, error: &Error) {
        self.in_doubt |= matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
    }

    fn delay(&mut self, error: &Error, attempt: u32) -> Duration {
        let jitter = self.rng.f64();
        match error.kind() {
            // Only a change of credentials mends it; asking often is a nuisance to the server.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
                Backoff::new(Duration::from_secs(1), Duration::from_secs(5)).delay(attempt, jitter)
            }
            _ => self.options.backoff.delay(attempt, jitter),
        }
    }

    fn limit(&self) -> Duration {
        operation_timeout(self.options.register.ttl, self.options.operation_timeout)
    }

    fn fenced_error(&self) -> Error {
        match &**self.publisher.load() {
            RegistrarState::Fenced { error, .. } => error.clone(),
            _ => Error::new(ErrorKind::AlreadyRegistered, Operation::Update, "another process holds the id"),
        }
    }

    /// No lease is known, because of `error`.
    fn show_trouble(&mut self, error: Error) {
        let state = match (&**self.publisher.load(), self.incarnation) {
            (_, None) => RegistrarState::Starting { error: Some(error) },
            (RegistrarState::Recovering { since, .. }, _) => {
                RegistrarState::Recovering { since: *since, error }
            }
            _ => RegistrarState::Recovering { since: Instant::now(), error },
        };
        self.show(state);
    }

    /// A lease is held; `error` is what the last operation failed with.
    fn show_held(&mut self, error: Option<Error>) {
        let Phase::Holding(held) = &self.phase else { return };
        if held.leaving.is_some() {
            return;
        }
        let clean = matches!(&**self.publisher.load(), RegistrarState::Registered { error: None, .. });
        let state = match error {
            None if clean => return,
            None => RegistrarState::Registered { registration: held.registration.clone(), error: None },
            Some(error) if Instant::now() >= held.valid_until => {
                RegistrarState::Recovering { since: held.valid_until, error }
            }
            Some(error) => {
                RegistrarState::Registered { registration: held.registration.clone(), error: Some(error) }
            }
        };
        self.show(state);
    }

    fn show(&mut self, state: RegistrarState) {
        tracing::debug!(service = %self.desired.service(), id = %self.desired.id(), state = state.name());
        self.publisher.publish(state);
    }
}

async fn within<T>(
    limit: Duration,
    operation: Operation,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(ErrorKind::Timeout, operation, format!("no answer within {limit:?}"))),
    }
}

impl Phase {
    fn wake(&self) -> Option<Instant> {
        match self {
            Self::Acquiring { at, .. } => Some(*at),
            Self::Holding(held) => {
                let leave = held.leaving.as_ref().map(|leaving| leaving.until);
                [Some(held.beat_at), held.publish_at, leave].into_iter().flatten().min()
            }
            Self::Fenced { again } => *again,
            Self::Paused => None,
        }
    }
}
