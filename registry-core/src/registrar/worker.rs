//! The task behind a registrar: one phase at a time, woken by commands and by its own schedule.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::newest::{Newest, Wanted};
use super::options::{RegistrarOptions, WhenFenced, heartbeat_interval, operation_timeout};
use super::state::RegistrarState;
use super::teller::Teller;
use crate::backoff::Backoff;
use crate::cursor::Revision;
use crate::error::{Error, ErrorKind, Operation, Result, Retry};
use crate::instance::{Instance, Status};
use crate::lease::{Incarnation, Lease, OnConflict, RegisterOptions, Registration};
use crate::registry::Registry;
use crate::time::later;

type Reply<T> = oneshot::Sender<Result<T>>;

pub(super) enum Command {
    Pause(Reply<()>),
    Resume(Reply<()>),
    Drain(Duration, Reply<()>),
    Shutdown(Reply<()>),
}

impl Command {
    /// Who waits for the end, when this asks to leave.
    pub(super) fn leave(self) -> Result<Reply<()>, Self> {
        match self {
            Self::Drain(_, reply) | Self::Shutdown(reply) => Ok(reply),
            other => Err(other),
        }
    }
}

enum Phase {
    /// No lease is known; the next attempt is at `at`.
    Acquiring { attempt: u32, at: Instant },
    /// A lease is held, as far as is known.
    Holding(Held),
    /// Another process holds the id; asks again at `again`.
    Fenced { again: Option<Instant>, doubts: u32 },
    /// Taken off on request, or to be taken off at the next attempt.
    Paused { again: Option<Instant> },
}

struct Held {
    registration: Registration,
    /// The end of what the last acknowledged heartbeat bought.
    valid_until: Instant,
    beat_at: Instant,
    /// When to publish the desired instance; `None` when it is published.
    publish_at: Option<Instant>,
    failures: u32,
}

/// Leaving in order: what remains of the grace, and who waits for the end.
struct Leaving {
    until: Instant,
    reply: Reply<()>,
}

pub(super) struct Worker {
    registry: Arc<dyn Registry>,
    options: RegistrarOptions,
    teller: Teller,
    commands: mpsc::UnboundedReceiver<Command>,
    changes: Newest,
    rng: fastrand::Rng,
    phase: Phase,
    /// What should be published.
    desired: Instance,
    /// What the registry accepted last; to fall back to when it refuses what is desired.
    accepted: Option<Instance>,
    /// The incarnation held last; to be reclaimed.
    incarnation: Option<Incarnation>,
    /// Whether an attempt to register ended without an answer, so that there may be an entry whose lease is not known.
    in_doubt: bool,
    /// A lease that is to be given up, and is not known to be.
    unreleased: Option<Lease>,
    /// Since when the first registration has found the id taken.
    taken_since: Option<Instant>,
    leaving: Option<Leaving>,
    /// Who waits until the desired instance is published.
    waiting: Vec<Reply<Revision>>,
}

impl Worker {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        instance: Instance,
        options: RegistrarOptions,
        teller: Teller,
        commands: mpsc::UnboundedReceiver<Command>,
        changes: Newest,
    ) -> Self {
        Self {
            registry,
            rng: fastrand::Rng::with_seed(options.seed),
            options,
            teller,
            commands,
            changes,
            phase: Phase::Acquiring { attempt: 0, at: Instant::now() },
            desired: instance,
            accepted: None,
            incarnation: None,
            in_doubt: false,
            unreleased: None,
            taken_since: None,
            leaving: None,
            waiting: Vec::new(),
        }
    }

    pub(super) fn refuse(error: Option<Error>, mut teller: Teller) {
        teller.tell(RegistrarState::Closed { error });
    }

    /// Runs until it is told to leave; obeys `backlog` first, which came while the registry's client was made.
    pub(super) async fn run(mut self, backlog: Vec<Command>) {
        for command in backlog {
            if self.command(Some(command)).await.is_break() {
                return;
            }
        }
        loop {
            self.look();
            let leave = self.leaving.as_ref().map(|leaving| leaving.until);
            let wake = [self.phase.wake(), leave].into_iter().flatten().min();
            let flow = tokio::select! {
                biased;
                command = self.commands.recv() => self.command(command).await,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.tick().await,
                // After what is due: changes that come without end must not cost the lease.
                () = self.changes.offered() => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return;
            }
        }
    }

    async fn command(&mut self, command: Option<Command>) -> ControlFlow<()> {
        // It was asked for after them.
        self.look();
        match command {
            None => self.finish(None).await,
            Some(Command::Shutdown(reply)) => self.finish(Some(reply)).await,
            Some(Command::Drain(grace, reply)) => self.drain(grace, reply).await,
            Some(Command::Pause(reply)) => {
                let result = self.try_release().await;
                let delay = result.as_ref().err().map(|error| self.delay(error, 0));
                self.phase = Phase::Paused { again: delay.map(|delay| later(Instant::now(), delay)) };
                self.show(RegistrarState::Paused);
                let _ = reply.send(result);
                ControlFlow::Continue(())
            }
            Some(Command::Resume(reply)) => {
                if matches!(self.phase, Phase::Paused { .. }) {
                    self.phase = Phase::Acquiring { attempt: 0, at: Instant::now() };
                    self.show(RegistrarState::Starting { error: None });
                }
                let _ = reply.send(Ok(()));
                ControlFlow::Continue(())
            }
        }
    }

    /// Takes up the newest change, if there is one.
    fn look(&mut self) {
        let Some(Wanted { instance, mut waiting }) = self.changes.take() else { return };
        self.desired = instance;
        if matches!(self.phase, Phase::Fenced { .. }) {
            let error = self.fenced_error();
            for reply in waiting {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        if let Phase::Holding(held) = &mut self.phase {
            held.publish_at = Some(Instant::now());
        }
        // Those whose callers gave up waiting must not pile up while the registry is away.
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.append(&mut waiting);
    }

    async fn tick(&mut self) -> ControlFlow<()> {
        let now = Instant::now();
        if let Some(leaving) = self.leaving.take_if(|leaving| leaving.until <= now) {
            return self.finish(Some(leaving.reply)).await;
        }
        match &self.phase {
            Phase::Acquiring { attempt, .. } => {
                let attempt = *attempt;
                self.acquire(attempt).await
            }
            Phase::Fenced { doubts, .. } => {
                let doubts = *doubts;
                self.return_if_absent(doubts).await;
                ControlFlow::Continue(())
            }
            // The heartbeat first: what keeps the entry alive must not wait for what changes it.
            Phase::Holding(held) if held.beat_at <= now => self.beat().await,
            Phase::Holding(_) => self.publish_desired().await,
            Phase::Paused { .. } => {
                let delay = self.try_release().await.err().map(|error| self.delay(&error, 10));
                self.phase = Phase::Paused { again: delay.map(|delay| later(Instant::now(), delay)) };
                ControlFlow::Continue(())
            }
        }
    }

    /// How to register now.
    ///
    /// Only the very first attempt takes the id from whoever has it: a later one, delayed by an outage, may find a newer process
    /// there, which must not be robbed.
    fn register_options(&self, attempt: u32) -> RegisterOptions {
        let options = self.options.register.clone();
        match (self.incarnation, options.on_conflict) {
            (Some(held), _) => options.with_on_conflict(OnConflict::Reclaim).with_claim(held),
            (None, OnConflict::TakeOver) if attempt > 0 => options.with_on_conflict(OnConflict::Reclaim),
            (None, _) => options,
        }
    }

    async fn acquire(&mut self, attempt: u32) -> ControlFlow<()> {
        let options = self.register_options(attempt);
        let invoked = Instant::now();
        let registering = self.registry.register(&self.desired, &options);
        let error = match within(self.limit(), Operation::Register, registering).await {
            Ok(registration) => {
                self.hold(registration, invoked);
                return ControlFlow::Continue(());
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::AlreadyRegistered {
            // Of our own predecessor, whose clock was ahead of ours, the entry is gone within a TTL.
            let since = *self.taken_since.get_or_insert(invoked);
            let patient =
                self.incarnation.is_none() && self.options.register.on_conflict == OnConflict::TakeOver;
            if !patient || invoked >= later(since, self.options.register.ttl.get() * 2) {
                self.fenced(error);
                return ControlFlow::Continue(());
            }
        } else if error.retry() == Retry::Never {
            match self.accepted.clone() {
                None => return self.close(error),
                // What was accepted before is published again; what is refused is told to who wanted it.
                Some(accepted) => {
                    self.desired = accepted;
                    self.published(&Err(error.clone()));
                }
            }
        }
        self.doubt(&error);
        let at = later(Instant::now(), self.delay(&error, attempt));
        self.phase = Phase::Acquiring { attempt: attempt.saturating_add(1), at };
        self.show_trouble(error);
        ControlFlow::Continue(())
    }

    fn hold(&mut self, registration: Registration, invoked: Instant) {
        tracing::info!(service = %self.desired.service(), id = %self.desired.id(),
            revision = %registration.revision, "registered");
        (self.in_doubt, self.unreleased, self.taken_since) = (false, None, None);
        self.incarnation = Some(registration.lease.incarnation());
        self.accepted = Some(self.desired.clone());
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(registration.revision));
        }
        self.phase = Phase::Holding(Held {
            valid_until: registration.ttl.deadline(invoked),
            beat_at: invoked + heartbeat_interval(registration.ttl, self.rng.f64()),
            publish_at: None,
            failures: 0,
            registration: registration.clone(),
        });
        if self.leaving.is_none() {
            self.show(RegistrarState::Registered { registration, error: None });
        }
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
            Err(error) => self.holding_failed(error, |held, at| held.beat_at = at),
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
                self.accepted = Some(self.desired.clone());
                self.published(&Ok(revision));
                ControlFlow::Continue(())
            }
            Err(error) if error.retry() == Retry::Never => {
                held.publish_at = None;
                if let Some(accepted) = self.accepted.clone() {
                    self.desired = accepted;
                }
                self.published(&Err(error));
                ControlFlow::Continue(())
            }
            Err(error) => self.holding_failed(error, |held, at| held.publish_at = Some(at)),
        }
    }

    fn published(&mut self, result: &Result<Revision>) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    /// A heartbeat or an update failed: the lease is lost, or it is tried again, at the time given to `again`.
    fn holding_failed(&mut self, error: Error, again: impl FnOnce(&mut Held, Instant)) -> ControlFlow<()> {
        let Phase::Holding(held) = &mut self.phase else { return ControlFlow::Continue(()) };
        if error.kind() == ErrorKind::LeaseLost {
            tracing::warn!(service = %self.desired.service(), id = %self.desired.id(), %error, "lease lost");
            self.phase = Phase::Acquiring { attempt: 0, at: Instant::now() };
            self.show_trouble(error);
            return ControlFlow::Continue(());
        }
        let failures = held.failures;
        held.failures = failures.saturating_add(1);
        let delay = self.delay(&error, failures);
        if let Phase::Holding(held) = &mut self.phase {
            again(held, later(Instant::now(), delay));
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
        self.taken_since = None;
        self.phase = Phase::Fenced { again: self.ask_again_at(), doubts: 0 };
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

    async fn return_if_absent(&mut self, doubts: u32) {
        // Reclaim: what a lower incarnation, or a foreign writer without one, left behind must not keep the id for ever. But who
        // never held it, and was told not to take it, must not take it now.
        let options = match (self.incarnation, self.options.register.on_conflict) {
            (None, OnConflict::Refuse) => self.options.register.clone(),
            _ => self.register_options(1),
        };
        let invoked = Instant::now();
        let registering = self.registry.register(&self.desired, &options);
        match within(self.limit(), Operation::Register, registering).await {
            Ok(registration) => self.hold(registration, invoked),
            Err(error) => {
                // Another owner's entry answers what was in doubt.
                self.in_doubt &= error.kind() != ErrorKind::AlreadyRegistered;
                self.doubt(&error);
                // It may be registered, and then needs heartbeats.
                let again = if self.in_doubt {
                    Some(later(Instant::now(), self.delay(&error, doubts)))
                } else {
                    self.ask_again_at()
                };
                self.phase = Phase::Fenced { again, doubts: doubts.saturating_add(1) };
            }
        }
    }

    async fn drain(&mut self, grace: Duration, reply: Reply<()>) -> ControlFlow<()> {
        if matches!(self.phase, Phase::Fenced { .. } | Phase::Paused { .. }) {
            return self.finish(Some(reply)).await;
        }
        let now = Instant::now();
        let until = later(now, grace);
        self.leaving = Some(Leaving { until, reply });
        self.desired = self.desired.clone().with_status(Status::Draining);
        match &mut self.phase {
            Phase::Holding(held) => held.publish_at = Some(now),
            // Who was never registered does not begin with it now.
            phase if self.incarnation.is_none() && !self.in_doubt => *phase = Phase::Paused { again: None },
            _ => {}
        }
        self.show(RegistrarState::Draining { until });
        ControlFlow::Continue(())
    }

    async fn finish(&mut self, reply: Option<Reply<()>>) -> ControlFlow<()> {
        let result = self.release(later(Instant::now(), self.options.shutdown_timeout)).await;
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

    /// Deregisters what is held or may be held; tries again until `deadline`.
    async fn release(&mut self, deadline: Instant) -> Result<()> {
        let mut last = None;
        for attempt in 0.. {
            let error = match timeout_at(deadline, self.try_release()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => break,
            };
            let delay = self.delay(&error, attempt);
            last = Some(error);
            if later(Instant::now(), delay) >= deadline {
                break;
            }
            sleep(delay).await;
        }
        Err(last
            .unwrap_or_else(|| Error::new(ErrorKind::Timeout, Operation::Deregister, "no answer in time")))
    }

    /// One attempt to deregister what is held or may be held. Whatever it could not give up it remembers.
    async fn try_release(&mut self) -> Result<()> {
        if let Phase::Holding(held) = &self.phase {
            self.unreleased = Some(held.registration.lease.clone());
        }
        if self.in_doubt && self.unreleased.is_none() {
            self.unreleased = self.resolve_doubt().await?;
            self.in_doubt = false;
        }
        if let Some(lease) = &self.unreleased {
            within(self.limit(), Operation::Deregister, self.registry.deregister(lease)).await?;
            self.unreleased = None;
        }
        self.phase = Phase::Paused { again: None };
        Ok(())
    }

    /// The lease of a registration whose answer was lost, if there is such a registration.
    async fn resolve_doubt(&self) -> Result<Option<Lease>> {
        let lookup = self.registry.lookup(self.desired.service());
        let list = within(self.limit(), Operation::Lookup, lookup).await?;
        if list.get(self.desired.id()).is_none() {
            return Ok(None);
        }
        // The same token gives the lease; of another owner's entry it gives nothing.
        let options = self.options.register.clone().with_on_conflict(OnConflict::Refuse);
        let instance = self.desired.clone().with_status(Status::Draining);
        let registering = self.registry.register(&instance, &options);
        match within(self.limit(), Operation::Register, registering).await {
            Ok(registration) => Ok(Some(registration.lease)),
            Err(error) if error.kind() == ErrorKind::AlreadyRegistered => Ok(None),
            Err(error) => Err(error),
        }
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
        match &**self.teller.told() {
            RegistrarState::Fenced { error, .. } => error.clone(),
            _ => Error::new(ErrorKind::AlreadyRegistered, Operation::Update, "another process holds the id"),
        }
    }

    /// No lease is known, because of `error`.
    fn show_trouble(&mut self, error: Error) {
        if self.leaving.is_some() {
            return;
        }
        let state = match (&**self.teller.told(), self.incarnation) {
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
        if self.leaving.is_some() {
            return;
        }
        let clean = matches!(&**self.teller.told(), RegistrarState::Registered { error: None, .. });
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
        self.teller.tell(state);
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
            Self::Holding(held) => [Some(held.beat_at), held.publish_at].into_iter().flatten().min(),
            Self::Fenced { again, .. } | Self::Paused { again } => *again,
        }
    }
}
