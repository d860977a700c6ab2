//! Which of two: drawn by weight, decided by load. Pure.

use registry_core::pick::{Draw, p2c};

/// The weights of a line-up, as running totals.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    ends: Box<[u64]>,
}

impl Shares {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let ends = weights.scan(0, |total, weight| {
            *total += u64::from(weight.max(1));
            Some(*total)
        });
        Self { ends: ends.collect() }
    }

    /// How many calls in flight on `weight` count as much as one on average.
    pub(crate) fn relative(&self, weight: u32) -> f64 {
        let total = self.ends.last().copied().unwrap_or(0) as f64;
        f64::from(weight.max(1)) * self.ends.len() as f64 / total.max(1.0)
    }

    /// The less costly of two that are drawn by weight, never the same one twice.
    ///
    /// Costs that differ by less than a factor of two are told apart only by chance, the more so the closer they are: such differences
    /// are mostly noise, and a client with little to do would otherwise call nobody but the one that is a little faster.
    pub(crate) fn pick(&self, cost: impl Fn(usize) -> f64, draw: &Draw) -> Option<usize> {
        let total = *self.ends.last()?;
        let first = self.at(below(draw, total));
        let (start, end) = self.span(first);
        if end - start == total {
            return Some(first);
        }
        // Drawn from what is left without the first one.
        let second = below(draw, total - (end - start));
        let second = self.at(if second < start { second } else { second + (end - start) });
        let pair = [first, second];
        p2c(&pair, |at| cost(*at) * (1.0 + unit(draw)), draw).map(|which| pair[which])
    }

    fn at(&self, share: u64) -> usize {
        self.ends.partition_point(|end| *end <= share)
    }

    fn span(&self, at: usize) -> (u64, u64) {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        (start, self.ends[at])
    }
}

fn below(draw: &Draw, bound: u64) -> u64 {
    draw.below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64
}

/// From 0.0 to 1.0.
fn unit(draw: &Draw) -> f64 {
    (draw.next() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32], cost: impl Fn(usize) -> f64) -> Vec<u32> {
        let shares = Shares::new(weights.iter().copied());
        let draw = Draw::with_seed(5);
        let mut counts = vec![0; weights.len()];
        for _ in 0..10_000 {
            counts[shares.pick(&cost, &draw).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equals_share_equally() {
        for count in shares(&[100; 4], |_| 1.0) {
            assert!((2350..2650).contains(&count), "{count}");
        }
    }

    #[test]
    fn a_small_weight_gets_its_small_share_even_of_little_work() {
        let counts = shares(&[100, 100, 100, 3], |_| 1.0);
        assert!((60..160).contains(&counts[3]), "{counts:?}");
        assert!(counts[..3].iter().all(|count| (3150..3450).contains(count)), "{counts:?}");
    }

    #[test]
    fn who_costs_twice_as_much_gets_nothing_while_there_is_another() {
        for weights in [[1, 1, 1], [1, 1, 10_000]] {
            let counts = shares(&weights, |at| if at == 2 { 2.0 } else { 1.0 });
            assert_eq!(counts[2], 0, "{counts:?}");
        }
    }

    #[test]
    fn who_costs_a_little_more_still_gets_a_share() {
        let counts = shares(&[1, 1], |at| if at == 1 { 1.1 } else { 1.0 });
        assert!(counts[1] > 3_500 && counts[1] < 4_800, "{counts:?}");
    }

    #[test]
    fn one_is_picked_always_and_none_never() {
        assert_eq!(shares(&[7], |_| 1.0), [10_000]);
        assert_eq!(Shares::new(std::iter::empty()).pick(|_| 1.0, &Draw::with_seed(1)), None);
    }

    #[test]
    fn calls_in_flight_count_by_weight() {
        let shares = Shares::new([100, 300].into_iter());
        assert!((shares.relative(100) - 0.5).abs() < 1e-9);
        assert!((shares.relative(300) - 1.5).abs() < 1e-9);
    }
}
