//! The latencies of many blocks together: the tail, for which a single block is too short.

use hdrhistogram::Histogram;

use crate::lanes::histogram;

/// The series: pairs of µs and the share of all that took no longer.
pub const TAIL: &str = "tail_us";

/// The shares of a tail, each of the later ones ten times as rare as the one before.
const SHARES: [f64; 16] =
    [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0];

/// Latencies of all blocks but the first, which warms up.
#[derive(Clone, Debug, Default)]
pub struct Pooled {
    /// None before the first block is over.
    counted: Option<Counted>,
}

#[derive(Clone, Debug)]
struct Counted {
    latencies: Histogram<u64>,
    /// What was never answered took longer than all others.
    never: u64,
}

impl Pooled {
    /// Adds a block: its latencies in nanoseconds, and how many were never answered.
    pub fn add(&mut self, latencies: &Histogram<u64>, never: u64) {
        match &mut self.counted {
            Some(counted) => {
                counted.latencies += latencies;
                counted.never += never;
            }
            None => self.counted = Some(Counted { latencies: histogram(), never: 0 }),
        }
    }

    /// As an arm gives it: those shares of which there are enough latencies to tell, and the longest; nothing of no block.
    #[must_use]
    pub fn series(&self) -> Vec<(&'static str, Vec<[f64; 2]>)> {
        let counted = self.counted.as_ref().filter(|counted| !counted.latencies.is_empty());
        counted.map(|counted| (TAIL, counted.shares())).into_iter().collect()
    }
}

impl Counted {
    fn shares(&self) -> Vec<[f64; 2]> {
        let ended = self.latencies.len() as f64;
        let all = ended + self.never as f64;
        // One at least is beyond it; what is decimal is not exact.
        let is_told = |share: &f64| *share >= 1.0 || (1.0 - share) * all > 1.0 - 1e-6;
        let rank = |share: f64| (share * all).ceil();
        let pair = |share| {
            // The middle of the rank's part of all that ended, so that rounding does not lead to its neighbour's.
            let of_ended = || self.latencies.value_at_quantile((rank(share) - 0.5) / ended) as f64 / 1e3;
            (rank(share) <= ended).then(|| [of_ended(), share])
        };
        SHARES.into_iter().filter(is_told).filter_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pooled, TAIL};
    use crate::lanes::{histogram, note};

    fn pooled(never: u64) -> Vec<[f64; 2]> {
        let block = |from: u64| {
            let mut latencies = histogram();
            (from..from + 100).for_each(|micros| note(&mut latencies, Duration::from_micros(micros)));
            latencies
        };
        let mut pooled = Pooled::default();
        pooled.add(&block(90_000), 7);
        assert!(pooled.series().is_empty(), "the first block warms up");
        pooled.add(&block(1), 0);
        pooled.add(&block(101), never);
        let [(TAIL, tail)] = &pooled.series()[..] else { panic!("{pooled:?}") };
        tail.clone()
    }

    #[test]
    fn a_tail_says_nothing_of_what_is_rarer_than_what_it_is_made_of() {
        let tail = pooled(0);
        assert!(tail.iter().any(|[micros, share]| *share == 0.5 && (micros - 100.0).abs() < 1.0), "{tail:?}");
        let [longest, whole] = tail[tail.len() - 1];
        assert!(whole == 1.0 && (longest - 200.0).abs() < 1.0, "{tail:?}");
        assert_eq!(tail[tail.len() - 2][1], 0.995, "one of 200 is rarer");
    }

    #[test]
    fn what_was_never_answered_took_longer_than_all_others() {
        let tail = pooled(50);
        assert_eq!(tail[tail.len() - 1][1], 0.75, "a fifth was never answered: {tail:?}");
        assert!(tail.iter().any(|[micros, share]| *share == 0.5 && (micros - 125.0).abs() < 1.0), "{tail:?}");
    }
}
