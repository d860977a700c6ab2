//! What goes wrong how often, and the seeded dice that decide it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::error::{Error, ErrorKind, Operation, Result};

/// How often what goes wrong; probabilities from 0.0 to 1.0.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FaultPlan {
    /// An operation fails with [`Unavailable`](ErrorKind::Unavailable), and nothing happened.
    pub refuse: f64,
    /// An operation happens, but its answer is lost: it fails with [`Unavailable`](ErrorKind::Unavailable).
    pub lose_answer: f64,
    /// An operation never answers, half the time after it happened; the caller must give up by itself.
    pub hang: f64,
    /// An operation, or an item of a feed, is late by up to [`max_delay`](Self::max_delay).
    pub delay: f64,
    /// The longest delay.
    pub max_delay: Duration,
    /// A feed breaks before its next item.
    pub cut: f64,
    /// A feed says nothing any more, without an error.
    pub stall: f64,
}

impl Default for FaultPlan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            refuse: 0.0,
            lose_answer: 0.0,
            hang: 0.0,
            delay: 0.0,
            max_delay: Duration::from_millis(500),
            cut: 0.0,
            stall: 0.0,
        }
    }
}

impl FaultPlan {
    /// A bit of everything: about one operation in five fails in one way or the other.
    #[must_use]
    pub fn stormy() -> Self {
        Self {
            refuse: 0.08,
            lose_answer: 0.06,
            hang: 0.03,
            delay: 0.2,
            cut: 0.08,
            stall: 0.02,
            ..Self::default()
        }
    }

    /// The registry is away: every operation is refused, and every feed breaks.
    #[must_use]
    pub fn outage() -> Self {
        Self { refuse: 1.0, cut: 1.0, ..Self::default() }
    }
}

/// The dice of a faulty registry, and the switch that turns the faults on and off. Clones share both.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    on: AtomicBool,
    injected: AtomicU64,
    dice: Mutex<Dice>,
}

#[derive(Debug)]
struct Dice {
    plan: FaultPlan,
    rng: fastrand::Rng,
}

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) delay: Option<Duration>,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Fine,
    Refused,
    AnswerLost,
    HangBefore,
    HangAfter,
}

/// What happens before the next item of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedFate {
    Fine { delay: Option<Duration> },
    Cut,
    Stall,
}

impl Faults {
    /// Faults after `plan`, decided by `seed`, turned on.
    #[must_use]
    pub fn new(plan: FaultPlan, seed: u64) -> Self {
        let dice = Mutex::new(Dice { plan, rng: fastrand::Rng::with_seed(seed) });
        Self { shared: Arc::new(Shared { on: AtomicBool::new(true), injected: AtomicU64::new(0), dice }) }
    }

    /// Turns the faults on or off. Feeds that stalled stay so.
    pub fn set_on(&self, on: bool) {
        self.shared.on.store(on, Ordering::Release);
    }

    /// Replaces the plan, and goes on with the same dice.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.with_dice(|dice| dice.plan = plan);
    }

    /// How many faults have been injected, delays included.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.shared.injected.load(Ordering::Acquire)
    }

    pub(super) fn operation(&self) -> Fate {
        if !self.shared.on.load(Ordering::Acquire) {
            return Fate { delay: None, end: End::Fine };
        }
        let fate = self.with_dice(|Dice { plan, rng }| {
            let delay = late(plan, rng);
            let draw = rng.f64();
            let refused = plan.refuse;
            let lost = refused + plan.lose_answer;
            let hung = lost + plan.hang;
            let end = match draw {
                draw if draw < refused => End::Refused,
                draw if draw < lost => End::AnswerLost,
                draw if draw < hung && rng.bool() => End::HangBefore,
                draw if draw < hung => End::HangAfter,
                _ => End::Fine,
            };
            Fate { delay, end }
        });
        self.count(fate != Fate { delay: None, end: End::Fine });
        fate
    }

    pub(super) fn item(&self) -> FeedFate {
        if !self.shared.on.load(Ordering::Acquire) {
            return FeedFate::Fine { delay: None };
        }
        let fate = self.with_dice(|Dice { plan, rng }| {
            let delay = late(plan, rng);
            let draw = rng.f64();
            match draw {
                draw if draw < plan.cut => FeedFate::Cut,
                draw if draw < plan.cut + plan.stall => FeedFate::Stall,
                _ => FeedFate::Fine { delay },
            }
        });
        self.count(fate != FeedFate::Fine { delay: None });
        fate
    }

    fn count(&self, fault: bool) {
        self.shared.injected.fetch_add(u64::from(fault), Ordering::AcqRel);
    }

    fn with_dice<T>(&self, use_them: impl FnOnce(&mut Dice) -> T) -> T {
        use_them(&mut self.shared.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `call` as the dice decide.
    pub(super) async fn befall<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fate = self.operation();
        if let Some(delay) = fate.delay {
            sleep(delay).await;
        }
        match fate.end {
            End::Fine => call.await,
            End::Refused => Err(injected(operation, "refused")),
            End::AnswerLost => {
                let _ = call.await;
                Err(injected(operation, "answer lost"))
            }
            End::HangBefore => std::future::pending().await,
            End::HangAfter => {
                let _ = call.await;
                std::future::pending().await
            }
        }
    }
}

fn late(plan: &FaultPlan, rng: &mut fastrand::Rng) -> Option<Duration> {
    (rng.f64() < plan.delay).then(|| plan.max_delay.mul_f64(rng.f64()))
}

pub(super) fn injected(operation: Operation, what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, format!("injected fault: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_the_same_faults_twice() {
        let draw = || {
            let faults = Faults::new(FaultPlan::stormy(), 42);
            (0..1000).map(|_| (faults.operation(), faults.item())).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn faults_come_as_often_as_planned_and_not_when_off() {
        let faults = Faults::new(FaultPlan { refuse: 0.25, ..FaultPlan::default() }, 1);
        let refused = (0..10_000).filter(|_| faults.operation().end == End::Refused).count();
        assert!((2_300..2_700).contains(&refused), "{refused}");
        assert_eq!(faults.injected(), refused as u64);
        faults.set_on(false);
        assert!((0..1000).all(|_| faults.operation().end == End::Fine));
    }
}
