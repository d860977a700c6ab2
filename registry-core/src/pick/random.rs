//! Picking at random, and the source of randomness for picks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::weighted::scaled;

/// Pseudo-random numbers for picks: seeded, shared between threads, wait-free.
///
/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), whose state is a mere counter,
/// so that threads share it with one atomic addition. Not for secrets.
#[derive(Debug)]
pub struct Draw {
    state: AtomicU64,
}

impl Draw {
    /// A source with this seed.
    #[must_use]
    pub const fn with_seed(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A source with a seed from the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::with_seed(crate::entropy::random())
    }

    /// The next number.
    #[inline]
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0. The bias is below 2^-32 for bounds below 2^32.
    #[inline]
    pub fn below(&self, bound: usize) -> usize {
        self.below_u64(bound as u64) as usize
    }

    /// Two different numbers below `bound`, each pair as likely as the other; none where there are not two. The bias is below 2^-32 for bounds below
    /// 2^16.
    #[inline]
    pub fn two_below(&self, bound: usize) -> Option<(usize, usize)> {
        let others = bound.checked_sub(1).filter(|others| *others > 0)?;
        // Where the first one lies within its share of all numbers is as random as the first one.
        let first = u128::from(self.next()) * bound as u128;
        let second = scaled(first as u64, others as u64) as usize;
        let first = (first >> 64) as usize;
        Some((first, second + usize::from(second >= first)))
    }

    /// As [`below`](Self::below), on every machine up to 64 bits.
    #[inline]
    pub(super) fn below_u64(&self, bound: u64) -> u64 {
        scaled(self.next(), bound)
    }
}

/// The index of any of `candidates`, each as likely as the other.
pub fn random<T>(candidates: &[T], draw: &Draw) -> Option<usize> {
    (!candidates.is_empty()).then(|| draw.below(candidates.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        // From the reference implementation, seed 1234567.
        let draw = Draw::with_seed(1_234_567);
        assert_eq!(draw.next(), 6_457_827_717_110_365_317);
        assert_eq!(draw.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_candidate_is_as_likely_as_the_other() {
        let draw = Draw::with_seed(7);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[random(&counts, &draw).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn two_that_are_drawn_are_different_and_every_pair_is_as_likely_as_the_other() {
        let draw = Draw::with_seed(7);
        assert_eq!([draw.two_below(0), draw.two_below(1)], [None, None]);
        let mut counts = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..120_000 {
            *counts.entry(draw.two_below(4).unwrap()).or_default() += 1;
        }
        assert_eq!(counts.len(), 12, "{counts:?}");
        assert!(counts.iter().all(|((first, second), _)| first != second && *first.max(second) < 4));
        assert!(counts.values().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        assert_eq!(random::<u8>(&[], &Draw::with_seed(1)), None);
    }
}
