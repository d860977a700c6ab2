//! Does what the machine decides: opens feeds, reads them, waits.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::ResumeOptions;
use super::machine::{Input, Machine, Next};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::event::WatchEvent;
use crate::name::ServiceName;
use crate::registry::{Feed, WatchSource};
use crate::time::later;

type Opening = Pin<Box<dyn Future<Output = Result<Feed>> + Send>>;

/// What is under way.
enum Stage {
    /// A feed is to be opened when the wait is over.
    Waiting(Pin<Box<Sleep>>, Option<Cursor>),
    /// A feed is being opened; `slow` is when the patience ends, `None` once that was told.
    Opening { opening: Opening, slow: Option<Instant>, deadline: Instant },
    /// A feed is being read.
    Reading(Feed),
}

struct Driver<S: ?Sized> {
    source: Arc<S>,
    service: ServiceName,
    options: ResumeOptions,
    rng: fastrand::Rng,
    machine: Machine,
    stage: Stage,
    /// Told by the machine, not yet by us.
    pending: VecDeque<WatchEvent>,
}

pub(super) fn stream<S: WatchSource + ?Sized>(
    source: Arc<S>,
    service: ServiceName,
    from: Option<Cursor>,
    options: ResumeOptions,
) -> impl Stream<Item = WatchEvent> + Send {
    unfold(None, move |driver: Option<Driver<S>>| {
        // The clock is asked when the consumer first polls, inside its runtime.
        let start = driver.is_none().then(|| (Arc::clone(&source), service.clone(), options.clone()));
        async move {
            let mut driver = match (driver, start) {
                (Some(driver), _) => driver,
                (None, Some((source, service, options))) => Driver::new(source, service, from, options),
                (None, None) => return None,
            };
            let event = driver.next().await;
            Some((event, Some(driver)))
        }
    })
}

impl<S: WatchSource + ?Sized> Driver<S> {
    fn new(source: Arc<S>, service: ServiceName, from: Option<Cursor>, options: ResumeOptions) -> Self {
        let now = Instant::now();
        let stage = open(&source, &service, from, &options, now);
        let machine = Machine::new(from, now);
        let rng = fastrand::Rng::with_seed(options.seed);
        Self { source, service, options, rng, machine, stage, pending: VecDeque::with_capacity(2) }
    }

    async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            let input = match &mut self.stage {
                Stage::Waiting(wait, from) => {
                    wait.await;
                    let from = *from;
                    self.open(from);
                    continue;
                }
                Stage::Opening { opening, slow, deadline } => {
                    let wake = slow.map_or(*deadline, |slow| slow.min(*deadline));
                    tokio::select! {
                        biased;
                        opened = opening => match opened {
                            Ok(feed) => {
                                self.stage = Stage::Reading(feed);
                                continue;
                            }
                            Err(error) => Input::Failed(error),
                        },
                        () = sleep_until(wake) => {
                            let error = timeout("opening the watch takes long");
                            *slow = None;
                            if wake < *deadline { Input::Slow(error) } else { Input::Failed(error) }
                        }
                    }
                }
                Stage::Reading(feed) => {
                    let mut item = poll_fn(|cx| feed.as_mut().poll_next(cx));
                    tokio::select! {
                        biased;
                        item = &mut item => match item {
                            Some(Ok(item)) => Input::Item(item),
                            Some(Err(error)) => Input::Failed(error),
                            None => Input::Failed(Error::new(
                                ErrorKind::Unavailable, Operation::Watch, "the connection ended")),
                        },
                        () = sleep(self.options.silence) => Input::Failed(timeout("the registry is silent")),
                    }
                }
            };
            if let Input::Failed(error) = &input {
                tracing::debug!(service = %self.service, %error, "watch interrupted");
            }
            let step = self.machine.on(input, Instant::now());
            self.pending.extend(step.tell.into_iter().flatten());
            match step.next {
                Next::Continue => {}
                Next::Open(from) => self.open(from),
                Next::OpenAfter(from, delay) => {
                    let backoff = if delay.slow { &self.options.slow_backoff } else { &self.options.backoff };
                    let wait = backoff.delay(delay.attempt, self.rng.f64());
                    self.stage = Stage::Waiting(Box::pin(sleep(wait)), from);
                }
            }
        }
    }

    fn open(&mut self, from: Option<Cursor>) {
        self.stage = open(&self.source, &self.service, from, &self.options, Instant::now());
    }
}

fn open<S: WatchSource + ?Sized>(
    source: &Arc<S>,
    service: &ServiceName,
    from: Option<Cursor>,
    options: &ResumeOptions,
    now: Instant,
) -> Stage {
    let source = Arc::clone(source);
    let service = service.clone();
    let opening = Box::pin(async move { source.open(&service, from).await });
    Stage::Opening {
        opening,
        slow: Some(later(now, options.patience)),
        deadline: later(now, options.open_deadline),
    }
}

fn timeout(message: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, Operation::Watch, message)
}
