//! How loaded an endpoint is: core's peak-sensitive average, with a floor.

use std::time::Duration;

use registry_core::pick::PeakEwma;
use tokio::time::Instant;

/// Expected of an endpoint where nothing is known, not even of its like. Optimistic, so that it is tried at once.
pub(crate) const UNKNOWN: Duration = Duration::from_millis(1);

/// An observation loses two thirds of its weight in this time.
const DECAY: Duration = Duration::from_secs(3);

/// Differences below this are noise of the machine, not of the endpoint; without a floor the endpoint that was once a little
/// slow would get nothing from a client with little to do.
const FLOOR: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Load {
    average: PeakEwma,
}

impl Load {
    /// Of an endpoint whose answers are expected to take so long.
    pub(crate) fn new(expected: Duration, now: Instant) -> Self {
        Self { average: PeakEwma::new(expected, DECAY, now) }
    }

    pub(crate) fn started(&self) {
        self.average.started();
    }

    /// A call is over, after `took` to its first answer; `None` when that says nothing.
    pub(crate) fn finished(&self, took: Option<Duration>, now: Instant) {
        self.average.finished(took, now);
    }

    /// A call is over that was given up `after` this long without an answer. That says something only if it is longer than
    /// what was expected.
    pub(crate) fn given_up(&self, after: Duration, now: Instant) {
        let slow = after.as_nanos() as f64 > self.average.latency_ns(now);
        self.finished(slow.then_some(after), now);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.average.in_flight()
    }

    /// The latency expected now.
    pub(crate) fn latency(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.average.latency_ns(now) as u64).max(FLOOR)
    }

    /// The cost of one more call, for an endpoint that carries `strength` times as many calls as the average one. Its answers are due for `waited`:
    /// it takes at least that long, whatever it took before.
    pub(crate) fn cost(&self, strength: f64, waited: Duration, now: Instant) -> f64 {
        let queue = f64::from(self.in_flight()) / strength + 1.0;
        self.latency(now).max(waited).as_nanos() as f64 * queue
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
        let known = load.cost(1.0, Duration::ZERO, now);
        assert!(load.cost(1.0, waited, now) > 40.0 * known);
        assert!((load.cost(1.0, UNKNOWN / 2, now) - known).abs() < 1e-6);
    }

    #[tokio::test(start_paused = true)]
    async fn twice_the_strength_carries_twice_the_calls() {
        let now = Instant::now();
        let (one, two) = (Load::new(UNKNOWN, now), Load::new(UNKNOWN, now));
        assert!((one.cost(1.0, Duration::ZERO, now) - two.cost(2.0, Duration::ZERO, now)).abs() < 1e-6);
        one.started();
        two.started();
        two.started();
        assert!((one.cost(1.0, Duration::ZERO, now) - two.cost(2.0, Duration::ZERO, now)).abs() < 1e-6);
    }
}
