//! How loaded an endpoint is: core's peak-sensitive average, with a floor.

use std::time::Duration;

use registry_core::pick::{Moment, PeakEwma};
use tokio::time::Instant;

/// Expected of an endpoint where nothing is known, not even of its like. Optimistic, so that it is tried at once.
pub(crate) const UNKNOWN: Duration = Duration::from_millis(1);

/// An observation loses two thirds of its weight in this time.
const DECAY: Duration = Duration::from_secs(3);

/// Differences below this are noise of the machine, not of the endpoint; without a floor the endpoint that was once a little
/// slow would get nothing from a client with little to do.
const FLOOR: Duration = Duration::from_millis(1);
const FLOOR_NS: f64 = FLOOR.as_nanos() as f64;

#[derive(Debug)]
pub(crate) struct Load {
    average: PeakEwma,
}

impl Load {
    /// Of an endpoint whose answers are expected to take so long.
    pub(crate) fn new(expected: Duration, now: Instant) -> Self {
        Self { average: PeakEwma::new(expected, DECAY, now.into()) }
    }

    pub(crate) fn started(&self) {
        self.average.started();
    }

    /// A call is over, after `took` to its first answer; `None` when that says nothing.
    pub(crate) fn finished(&self, took: Option<Duration>, now: Instant) {
        self.average.finished(took, now.into());
    }

    /// A call is over that was given up `after` this long without an answer. That says something only if it is longer than
    /// what was expected.
    pub(crate) fn given_up(&self, after: Duration, now: Instant) {
        let slow = after.as_nanos() as f64 > self.average.latency_ns(now.into());
        self.finished(slow.then_some(after), now);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.average.in_flight()
    }

    /// The latency expected now.
    pub(crate) fn latency(&self, now: impl Into<Moment>) -> Duration {
        Duration::from_nanos(self.average.latency_ns(now.into()) as u64).max(FLOOR)
    }

    /// What one more call costs an endpoint that carries `strength` times as many calls as the average one. Where its answers are due, for `waited`, it
    /// takes at least that long, whatever it took before.
    pub(crate) fn cost(&self, strength: f64, waited: Option<Duration>, now: impl Into<Moment>) -> Cost {
        let waited = waited.map_or(0.0, |waited| waited.as_nanos() as f64);
        let latency = self.average.latency_ns(now.into()).max(FLOOR_NS).max(waited);
        Cost { latency, queue: f64::from(self.in_flight()) / strength, strength }
    }
}

/// What one more call costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The latency expected, in nanoseconds.
    pub(crate) latency: f64,
    /// The calls in flight for the strength.
    pub(crate) queue: f64,
    /// How many times as many calls it carries as the average one.
    pub(crate) strength: f64,
}

/// For a weaker one nobody leaves a stronger one that is up to so many times as slow.
const MOST_RELUCTANT: f64 = 10.0;

impl Cost {
    /// The latency, times what is in flight and the one to come. That one counts as much for a weak endpoint as for a strong one: how often each is
    /// drawn goes by weight already.
    pub(crate) fn whole(self) -> f64 {
        self.latency * (self.queue + 1.0)
    }

    /// Whether it is so much more than that of the other, by a factor of `clearly`, that a call goes to the other although it was not drawn for it: the
    /// endpoint is slow as such, or has more in flight than the other will have. To a weaker one it goes more reluctantly: that
    /// bears little, and what is slow for a moment is not to send it everything. What a call in flight counts there is taken for the mean of both: for that of
    /// the stronger it would get more than its share of a few calls at a time, for its own less.
    pub(crate) fn is_above(self, other: Self, clearly: f64) -> bool {
        let weaker = (self.strength / other.strength).max(1.0);
        self.latency >= clearly * weaker.min(MOST_RELUCTANT) * other.whole()
            || self.whole() >= clearly * other.latency * (other.queue + (1.0 + weaker) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_was_slow_once_is_tried_again() {
        let load = Load::new(UNKNOWN, Instant::now());
        load.started();
        load.finished(Some(Duration::from_millis(100)), Instant::now());
        assert_eq!(load.latency(Instant::now()), Duration::from_millis(100));
        tokio::time::advance(DECAY * 5).await;
        assert_eq!(load.latency(Instant::now()), FLOOR);
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_early_says_nothing_and_late_says_slow() {
        let load = Load::new(UNKNOWN, Instant::now());
        for (after, expected) in [(500, FLOOR), (50_000, Duration::from_millis(50))] {
            load.started();
            load.given_up(Duration::from_micros(after), Instant::now());
            assert_eq!(load.latency(Instant::now()), expected);
        }
        assert_eq!(load.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_callers_waiting_is_slow_before_it_has_answered() {
        let (now, waited) = (Instant::now(), Duration::from_millis(50));
        let load = Load::new(UNKNOWN, now);
        let cost = |waited| load.cost(1.0, waited, now).whole();
        let known = cost(None);
        assert!(cost(Some(waited)) > 40.0 * known);
        assert!((cost(Some(UNKNOWN / 2)) - known).abs() < 1e-6);
    }

    #[tokio::test(start_paused = true)]
    async fn twice_the_strength_carries_twice_the_calls() {
        let now = Instant::now();
        let (one, two) = (Load::new(UNKNOWN, now), Load::new(UNKNOWN, now));
        let difference = || one.cost(1.0, None, now).whole() - two.cost(2.0, None, now).whole();
        assert!(difference().abs() < 1e-6);
        one.started();
        two.started();
        two.started();
        assert!(difference().abs() < 1e-6);
    }

    #[test]
    fn a_stronger_one_is_left_for_a_weaker_one_only_where_it_is_much_slower() {
        let cost = |latency, queue, strength| Cost { latency, queue, strength };
        let (weak, idle) = (cost(1.0, 0.0, 0.01), cost(1.0, 0.0, 2.0));
        assert!(!idle.is_above(weak, 1.5) && !weak.is_above(idle, 1.5));
        assert!(!cost(1.0, 50.0, 2.0).is_above(weak, 1.0), "it is busy, and the other would be busier");
        assert!(!cost(9.0, 0.0, 2.0).is_above(weak, 1.0));
        assert!(cost(11.0, 0.0, 2.0).is_above(weak, 1.0), "it is slow");
        assert!(!cost(11.0, 0.0, 2.0).is_above(cost(1.0, 100.0, 0.01), 1.0), "the other has one already");
        assert!(cost(1.0, 100.0, 0.01).is_above(idle, 2.0) && cost(2.0, 0.0, 0.01).is_above(idle, 2.0));
    }
}
