//! How loaded a candidate is, from how long it took to answer and how much it has in flight.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::moment::Moment;

/// The load of one candidate: its latency as a peak-sensitive moving average, times what it has in flight.
///
/// The average jumps up with a slow answer and decays exponentially towards fast ones, so that trouble is believed at once and
/// recovery slowly. As in Finagle's `PeakEwma` balancer ("Finagle: Aperture Load Balancers" and its source). Wait-free, but for
/// concurrent completions on one candidate, of which one is heard.
#[derive(Debug)]
pub struct PeakEwma {
    /// Decays per nanosecond.
    rate: f64,
    /// Bits of an `f64`: nanoseconds.
    average: AtomicU64,
    /// The [`Moment`] of the last observation.
    observed: AtomicU64,
    /// Bits of an `f64`: where the average stands among those of others at any moment.
    standing: AtomicU64,
    in_flight: AtomicU32,
}

impl PeakEwma {
    /// A candidate of which nothing is known but that it is expected to answer in `initial`. An observation loses two thirds of its
    /// weight in `decay` (10 s is usual).
    #[must_use]
    pub fn new(initial: Duration, decay: Duration, now: Moment) -> Self {
        let (rate, average) = (1.0 / decay.as_nanos().max(1) as f64, initial.as_nanos() as f64);
        Self {
            rate,
            average: AtomicU64::new(average.to_bits()),
            standing: AtomicU64::new(standing(average, now, rate).to_bits()),
            observed: AtomicU64::new(now.0),
            in_flight: AtomicU32::new(0),
        }
    }

    /// A piece of work was given to the candidate.
    #[inline]
    pub fn started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece of work is done, after `took`; `None` when its duration says nothing, as after a cancellation.
    pub fn finished(&self, took: Option<Duration>, now: Moment) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(took) = took {
            self.observe(took, now);
        }
    }

    /// How many pieces of work are under way.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The latency expected at `now`, in nanoseconds. It fades while nothing new is learned, so that a candidate that was slow once
    /// is tried again.
    #[must_use]
    #[inline]
    pub fn latency_ns(&self, now: Moment) -> f64 {
        let silent = now.nanos_since(Moment(self.observed.load(Ordering::Relaxed)));
        self.average() * keep(silent as f64 * self.rate)
    }

    /// The load at `now`: the latency expected, times what is in flight plus the one to come.
    #[must_use]
    pub fn load(&self, now: Moment) -> f64 {
        self.latency_ns(now) * (f64::from(self.in_flight()) + 1.0)
    }

    /// What puts candidates in the order of their [`load`](Self::load) at whatever moment, if they forget equally fast: what fades does so for all alike,
    /// so this needs no moment and nothing has to fade. The cheaper one to pick by.
    ///
    /// It is the logarithm of the load, but for a number that is the same for all of them; exact to a hundred-thousandth where the decay is 1 ms or more.
    /// Averages of less than a nanosecond count as one.
    #[must_use]
    #[inline]
    pub fn rank(&self) -> f64 {
        let in_flight = self.in_flight();
        let queue = LOGARITHMS.get(in_flight as usize).copied();
        let queue = queue.unwrap_or_else(|| (f64::from(in_flight) + 1.0).ln());
        f64::from_bits(self.standing.load(Ordering::Relaxed)) + queue
    }

    fn observe(&self, took: Duration, now: Moment) {
        let before = Moment(self.observed.swap(now.0, Ordering::Relaxed));
        let decays = now.nanos_since(before) as f64 * self.rate;
        let average = next_average(self.average(), took.as_nanos() as f64, decays);
        self.average.store(average.to_bits(), Ordering::Relaxed);
        self.standing.store(standing(average, now, self.rate).to_bits(), Ordering::Relaxed);
    }

    #[inline]
    fn average(&self) -> f64 {
        f64::from_bits(self.average.load(Ordering::Relaxed))
    }
}

/// The logarithm of an average, and of what it has not faded since the beginning of time.
fn standing(average: f64, observed: Moment, rate: f64) -> f64 {
    average.max(1.0).ln() + observed.0 as f64 * rate
}

/// Those of 1, 2, 3, ….
const LOGARITHMS: [f64; 64] = logarithms();

const fn logarithms() -> [f64; 64] {
    let mut all = [0.0; 64];
    let mut n = 1;
    while n < all.len() {
        // ln((n + 1) / n), as twice the series of artanh(1 / (2n + 1)).
        let x = 1.0 / (2.0 * n as f64 + 1.0);
        let (mut power, mut odd, mut step) = (x, 1.0, 0.0);
        while odd < 40.0 {
            step += power / odd;
            power *= x * x;
            odd += 2.0;
        }
        all[n] = all[n - 1] + 2.0 * step;
        n += 1;
    }
    all
}

/// The share of an average that is left after so many decays.
#[inline]
fn keep(decays: f64) -> f64 {
    // Most are asked again long before one is over. There, the first terms of the series differ from the function by less than a
    // millionth, and cost a fraction of it.
    if decays < 0.25 {
        let square = decays * decays;
        let (first, second, third) =
            (1.0 - decays, 1.0 / 2.0 - decays * (1.0 / 6.0), 1.0 / 24.0 - decays * (1.0 / 120.0));
        first + square * (second + square * third)
    } else {
        (-decays).exp()
    }
}

/// The average after an observation `took`, so many decays after the last one.
fn next_average(average: f64, took: f64, decays: f64) -> f64 {
    let keep = keep(decays);
    let faded = average * keep;
    if took > faded { took } else { faded + took * (1.0 - keep) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_believed_at_once_and_a_fast_one_slowly() {
        assert!((next_average(10.0, 500.0, 0.01) - 500.0).abs() < 1e-9);
        let after_one_decay = next_average(500.0, 10.0, 1.0);
        assert!((after_one_decay - (10.0 + 490.0 / std::f64::consts::E)).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_falls_evenly_and_is_the_exponential_to_a_millionth() {
        let mut before = 1.0;
        for thousandths in 1..5_000 {
            let decays = f64::from(thousandths) / 1e3;
            let kept = keep(decays);
            assert!((kept - (-decays).exp()).abs() < 1e-6 && kept < before, "{decays}: {kept}");
            before = kept;
        }
        assert_eq!(keep(0.0), 1.0);
    }

    #[test]
    fn the_table_has_the_logarithms() {
        for (n, logarithm) in (1_u32..).zip(LOGARITHMS) {
            assert!((logarithm - f64::from(n).ln()).abs() < 1e-14, "{n}: {logarithm}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ranks_are_in_the_order_of_loads_at_any_moment() {
        let draw = crate::pick::Draw::with_seed(1);
        let millis = |bound| Duration::from_millis(draw.below(bound) as u64);
        let decay = Duration::from_secs(10);
        let all: Vec<_> = (0..50).map(|_| PeakEwma::new(millis(100), decay, Moment::now())).collect();
        let mut compared = 0;
        for _ in 0..1_000 {
            tokio::time::advance(millis(500)).await;
            let one = &all[draw.below(all.len())];
            one.started();
            if draw.below(5) > 0 {
                one.finished(Some(millis(100)), Moment::now());
            }
            tokio::time::advance(millis(3_000)).await;
            let now = Moment::now();
            let (one, other) = draw.two_below(all.len()).unwrap();
            let loads = [&all[one], &all[other]].map(|one| one.load(now));
            let ranks = [&all[one], &all[other]].map(PeakEwma::rank);
            // As exactly as loads are known.
            if loads.iter().all(|load| *load > 1e-3) && (loads[0] / loads[1]).ln().abs() > 1e-5 {
                assert_eq!(loads[0] < loads[1], ranks[0] < ranks[1], "{loads:?} {ranks:?}");
                assert!(((loads[0] / loads[1]).ln() - (ranks[0] - ranks[1])).abs() < 1e-4);
                compared += 1;
            }
        }
        assert!(compared > 700, "{compared}");
        assert!(all.iter().any(|one| one.in_flight() > 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_candidate_that_was_slow_once_is_picked_again() {
        use crate::pick::{Draw, p2c};
        let start = Moment::now();
        let new = || PeakEwma::new(Duration::from_millis(1), Duration::from_secs(10), start);
        let (candidates, draw) = ([new(), new()], Draw::with_seed(1));
        candidates[1].started();
        candidates[1].finished(Some(Duration::from_millis(100)), start);
        let mut picks = [0; 2];
        for _ in 0..3_000 {
            tokio::time::advance(Duration::from_millis(100)).await;
            let now = Moment::now();
            let picked = p2c(&candidates, PeakEwma::rank, &draw).unwrap();
            picks[picked] += 1;
            candidates[picked].started();
            candidates[picked].finished(Some(Duration::from_millis(1)), now);
        }
        assert!(picks.iter().all(|count| *count > 500), "{picks:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_flight_multiplies_the_load() {
        let now = Moment::now();
        let load = PeakEwma::new(Duration::from_millis(1), Duration::from_secs(10), now);
        let idle = load.load(now);
        load.started();
        assert!((load.load(now) - 2.0 * idle).abs() < 1e-6);
        load.finished(None, now);
        assert!((load.load(now) - idle).abs() < 1e-6);
        assert_eq!(load.in_flight(), 0);
    }
}
