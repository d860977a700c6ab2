//! The life of a server: waiting for its health, serving and registered, draining, finishing.

use std::error::Error as StdError;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use registry_core::{RegistrarOptions, Registry, Status};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::connections::Connections;
use super::handle::Open;
use super::health_check::{Health, HealthCheck, Verdict};
use super::registrars::{self, Registrars, Standing};
use super::signals::Asks;
use super::{ServerError, ServerHandle, ServerState, Shutdown};

/// What a server does once it serves.
pub(super) struct Plan {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) registrar: RegistrarOptions,
    /// `None`: always healthy.
    pub(super) health: Option<HealthCheck>,
    /// `None`: signals.
    pub(super) shutdown: Option<Shutdown>,
    pub(super) drain_grace: Duration,
    pub(super) finish_within: Duration,
}

/// What ends the serving.
enum End {
    /// It was asked to stop.
    Asked,
    /// The registration cannot go on.
    Lost(ServerError),
    /// Serving ended by itself.
    Served(ServerError),
}

struct Life<'a, S> {
    handle: &'a ServerHandle,
    serving: Pin<&'a mut Fuse<S>>,
    asks: Asks<'a>,
    /// `None`: not known.
    connections: Option<Connections>,
    registry: Arc<dyn Registry>,
    registrar: RegistrarOptions,
    drain_grace: Duration,
    finish_within: Duration,
}

/// Serves and keeps registered until asked to stop, and stops in order.
pub(super) async fn live<F, E>(
    serving: F,
    stopper: oneshot::Sender<()>,
    open: Open,
    connections: Option<Connections>,
    plan: Plan,
) -> Result<(), ServerError>
where
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    // Also where this is dropped: connections end with their calls then, and those that never had one would not.
    let _hangs_up = connections.as_ref().map(Connections::hang_up_at_the_end);
    let serving = async { serving.await.map_err(|error| ServerError::Serving(error.into())) };
    let mut serving = pin!(serving.fuse());
    // Registered only once it accepts calls, which it does from its first poll on.
    if let Some(ended) = serving.as_mut().now_or_never() {
        return Err(ended_early(ended));
    }
    let life = Life {
        handle: &open.0,
        serving,
        asks: Asks::new(&open.0, plan.shutdown),
        connections,
        registry: plan.registry,
        registrar: plan.registrar,
        drain_grace: plan.drain_grace,
        finish_within: plan.finish_within,
    };
    life.run(Health::observe(plan.health), stopper).await
}

fn ended_early(ended: Result<(), ServerError>) -> ServerError {
    ended.err().unwrap_or_else(|| ServerError::Serving("it ended without having been asked to".into()))
}

impl<S: Future<Output = Result<(), ServerError>>> Life<'_, S> {
    async fn run(mut self, mut health: Health, stopper: oneshot::Sender<()>) -> Result<(), ServerError> {
        let end = match self.until_healthy(&mut health).await {
            // Nobody knows of it yet.
            Some(end) => end,
            None => self.registered(health).await,
        };
        if let End::Served(error) = end {
            return Err(error);
        }
        let (finished, after) = self.finish(stopper).await;
        match (end, finished) {
            (End::Lost(error), _) => Err(error),
            (_, Some(finished)) => finished,
            (_, None) => Err(ServerError::Unfinished { after }),
        }
    }

    async fn until_healthy(&mut self, health: &mut Health) -> Option<End> {
        loop {
            match health.verdict() {
                Verdict::Healthy => return None,
                Verdict::Unhealthy(reason) => self.handle.show(ServerState::Unhealthy { reason }),
                Verdict::Unknown => {}
            }
            tokio::select! {
                biased;
                () = self.asks.next() => return Some(End::Asked),
                () = health.changed() => {}
                ended = self.serving.as_mut() => return Some(End::Served(ended_early(ended))),
            }
        }
    }

    /// From the first attempt to register until it is deregistered.
    async fn registered(&mut self, mut health: Health) -> End {
        let registrars = Registrars::start(&self.registry, &self.registrar, self.handle);
        let mut following = pin!(registrars::follow(registrars.states(), self.handle));
        let end = self.until_end(&registrars, &mut health, following.as_mut()).await;
        // Before anything is told to the registry: who asks for its health must not be the last to know.
        self.handle.show(ServerState::Draining);
        drop(health);
        // Nobody is to be waited for when nobody is served.
        let grace = if matches!(end, End::Served(_)) { Duration::ZERO } else { self.drain_grace };
        match self.leave(registrars, grace, following).await {
            Some(served) if matches!(end, End::Asked) => End::Served(served),
            _ => end,
        }
    }

    async fn until_end(
        &mut self,
        registrars: &Registrars,
        health: &mut Health,
        mut following: Pin<&mut impl Future<Output = ()>>,
    ) -> End {
        let mut states = self.handle.follow_registrars();
        let mut published = Status::Up;
        let mut publishing: BoxFuture<'_, ()> = Box::pin(pending());
        loop {
            let standing = Standing::of(
                &states.borrow_and_update(),
                self.handle.instances(),
                self.registrar.when_fenced,
            );
            let verdict = health.verdict();
            // Draining rather than gone: where no instance is healthy, calls to a sick one are better than none, and its id stays held.
            let status = if matches!(verdict, Verdict::Unhealthy(_)) { Status::Draining } else { Status::Up };
            self.handle.show(match (standing, verdict) {
                (Standing::Lost(error), _) => return End::Lost(error),
                (Standing::Fenced, _) => ServerState::Fenced,
                (Standing::Fine, Verdict::Unhealthy(reason)) => ServerState::Unhealthy { reason },
                (Standing::Fine, _) => ServerState::Serving,
            });
            if status != published {
                published = status;
                publishing = Box::pin(registrars.publish(status));
            }
            tokio::select! {
                biased;
                () = self.asks.next() => return End::Asked,
                () = &mut publishing => publishing = Box::pin(pending()),
                () = following.as_mut() => {}
                _ = states.changed() => {}
                () = health.changed() => {}
                ended = self.serving.as_mut() => return End::Served(ended_early(ended)),
            }
        }
    }

    /// Drains and deregisters. Gives the error when serving has ended meanwhile.
    async fn leave(
        &mut self,
        registrars: Registrars,
        grace: Duration,
        mut following: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<ServerError> {
        let mut served = None;
        self.asks.begin();
        {
            let mut draining = pin!(registrars.drain(grace));
            tokio::select! {
                biased;
                () = self.asks.next() => {}
                () = following.as_mut() => {}
                () = &mut draining => {}
                () = deserted(self.connections.as_ref()) => {}
                ended = self.serving.as_mut() => served = Some(ended_early(ended)),
            }
            // Where the grace was cut short, they deregister now.
        }
        self.asks.begin();
        let left = timeout(self.registrar.shutdown_timeout, self.handle.left());
        tokio::select! {
            biased;
            () = self.asks.next() => {}
            () = following.as_mut() => {}
            _ = left => {}
            ended = self.serving.as_mut() => served = Some(ended_early(ended)),
        }
        served
    }

    /// Takes no more calls, and gives those in flight their time: how serving ended, if it did, and after how long.
    async fn finish(&mut self, stopper: oneshot::Sender<()>) -> (Option<Result<(), ServerError>>, Duration) {
        self.handle.show(ServerState::Finishing);
        self.connections.iter().for_each(Connections::hang_up);
        let _ = stopper.send(());
        self.asks.begin();
        let began = Instant::now();
        let finished = tokio::select! {
            biased;
            finished = timeout(self.finish_within, self.serving.as_mut()) => finished.ok(),
            () = self.asks.next() => None,
        };
        (finished, began.elapsed().min(self.finish_within))
    }
}

/// Completes when all clients have gone. Where that is not known, never.
///
/// Not when they are silent: one that calls seldom, and has not heard yet, is silent too.
async fn deserted(connections: Option<&Connections>) {
    match connections {
        Some(connections) => connections.deserted().await,
        None => pending().await,
    }
}
