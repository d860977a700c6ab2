//! Which of them: by weight and load, in turn, or by a key. Pure.

use http::HeaderName;
use registry_core::pick::{Draw, RoundRobin, Weighted};

use super::load::Cost;

/// How a [`Channel`](crate::Channel) chooses among the endpoints that can be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// One that is drawn by weight, unless a second one that is drawn by weight costs clearly less: cost is the latency expected, a peak-sensitive moving
    /// average, times the calls in flight for its weight. So equals share by weight, two of them as well as many, and who is slow, or has too much to do,
    /// is avoided; for one of little weight only where it is up to ten times as slow, since that bears little. Newcomers get their share little by little.
    #[default]
    PeakEwma,
    /// In turn, by weight. Neither latency nor calls in flight matter, nor how long an endpoint is there.
    RoundRobin,
    /// The same key, the same endpoint, for as long as that can be called; keys are shared by weight. The key is what the request carries under
    /// this name in its metadata; requests without it go by [`PeakEwma`](Self::PeakEwma).
    ///
    /// When an endpoint leaves, its keys move to all others and no other key moves ([`registry_core::pick::rendezvous`]). A key that is called
    /// more often than its endpoint can bear is not shared.
    ConsistentHash(HeaderName),
}

/// What picks are made with.
#[derive(Debug)]
pub(crate) struct Picker {
    pub(crate) policy: Policy,
    pub(crate) draw: Draw,
    turns: RoundRobin,
}

impl Picker {
    pub(crate) fn new(policy: Policy, draw: Draw) -> Self {
        // Below anything that overflows soon, and elsewhere than the next client.
        let start = draw.below(1 << 16);
        Self { policy, draw, turns: RoundRobin::starting_at(start) }
    }

    /// The key by which a request is picked for, if it is by a key.
    pub(crate) fn key<B>(&self, request: &http::Request<B>) -> Option<u64> {
        let Policy::ConsistentHash(name) = &self.policy else { return None };
        request.headers().get(name).map(|value| registry_core::pick::hash(value.as_bytes()))
    }
}

/// The weights of a line-up.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    table: Weighted,
    /// How strong a weight of 1 is.
    unit: f64,
}

impl Shares {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let table = Weighted::new(weights.map(|weight| weight.max(1)));
        let unit = table.len() as f64 / (table.total() as f64).max(1.0);
        Self { table, unit }
    }

    /// How many calls in flight on `weight` count as much as one on average.
    pub(crate) fn relative(&self, weight: u32) -> f64 {
        f64::from(weight.max(1)) * self.unit
    }

    /// One that is drawn by weight, or instead of it a second one that is drawn by weight, where the first is clearly the costlier. The second is
    /// another than the first wherever there is one.
    ///
    /// Among equals each gets its share by weight, of two as well as of many. The less costly of two different ones would be half of all calls for each
    /// of two endpoints, whatever their weights.
    ///
    /// Costs that differ by less than a factor of two are told apart only by chance, the more so the closer they are: such differences
    /// are mostly noise, and a client with little to do would otherwise call nobody but the one that is a little faster.
    ///
    /// `part` is which part of its share each gets for now. One that gets less than the other is taken only so often, so that nothing changes
    /// where all are new.
    pub(crate) fn less_costly(
        &self,
        cost: impl Fn(usize) -> Cost,
        part: impl Fn(usize) -> f64,
        draw: &Draw,
    ) -> Option<usize> {
        let (first, second) = self.table.pair(draw)?;
        let Some(second) = second else { return Some(first) };
        let clearly = 1.0 + unit(draw).powi(2);
        let leaves = cost(first).is_above(cost(second), clearly);
        let (better, other) = if leaves { (second, first) } else { (first, second) };
        let (of_better, of_other) = (part(better), part(other));
        let stays = of_better >= of_other || unit(draw) * of_other < of_better;
        Some(if stays { better } else { other })
    }

    /// The next in turn, by weight.
    pub(crate) fn in_turn(&self, picker: &Picker) -> Option<usize> {
        self.table.in_turn(&picker.turns)
    }
}

/// From 0.0 to 1.0.
pub(crate) fn unit(draw: &Draw) -> f64 {
    (draw.next() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const IDLE: Cost = Cost { latency: 1.0, queue: 0.0, strength: 1.0 };

    /// How many of 10,000 calls each gets that takes so long, where each call begins when the one so many before it has ended.
    fn shares_of(weights: &[u32], at_once: usize, latency: impl Fn(usize) -> f64) -> Vec<u32> {
        let shares = Shares::new(weights.iter().copied());
        let draw = Draw::with_seed(5);
        let (mut counts, mut busy) = (vec![0; weights.len()], vec![0_u32; weights.len()]);
        let mut under_way = VecDeque::new();
        for _ in 0..10_000 {
            let cost = |at: usize| {
                let strength = shares.relative(weights[at]);
                Cost { latency: latency(at), queue: f64::from(busy[at]) / strength, strength }
            };
            let picked = shares.less_costly(cost, |_| 1.0, &draw).unwrap();
            counts[picked] += 1;
            busy[picked] += 1;
            under_way.push_back(picked);
            if under_way.len() >= at_once
                && let Some(ended) = under_way.pop_front()
            {
                busy[ended] -= 1;
            }
        }
        counts
    }

    fn shares(weights: &[u32], latency: impl Fn(usize) -> f64) -> Vec<u32> {
        shares_of(weights, 1, latency)
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
    fn equals_share_by_weight_idle_and_under_load() {
        for at_once in [1, 2, 4, 20, 200] {
            for weights in [&[100, 300][..], &[1, 10_000], &[300, 100, 100], &[1, 2, 3, 4], &[5, 5, 90]] {
                let counts = shares_of(weights, at_once, |_| 1.0);
                let total: u32 = weights.iter().sum();
                for (count, weight) in counts.iter().zip(weights) {
                    let due = f64::from(*weight) / f64::from(total) * 10_000.0;
                    let off = (f64::from(*count) - due).abs();
                    assert!(off < due * 0.25 + 20.0, "{at_once} at once on {weights:?}: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn who_costs_twice_as_much_gets_nothing_while_there_is_another() {
        for weights in [&[1, 1, 1][..], &[7, 7], &[20, 20, 1]] {
            let last = weights.len() - 1;
            let counts = shares(weights, |at| if at == last { 2.0 } else { 1.0 });
            assert_eq!(counts[last], 0, "{counts:?}");
        }
    }

    #[test]
    fn who_is_much_slower_gets_nothing_whatever_its_weight() {
        for weights in [[1, 1, 10_000], [1, 1, 3]] {
            let counts = shares(&weights, |at| if at == 2 { 20.0 } else { 1.0 });
            assert_eq!(counts[2], 0, "{counts:?}");
        }
    }

    #[test]
    fn who_has_too_much_to_do_gets_nothing_more() {
        let (shares, draw) = (Shares::new([100, 300].into_iter()), Draw::with_seed(5));
        for (busy, gets) in [([2, 0], 1), ([0, 12], 0)] {
            let cost = |at: usize| {
                let strength = shares.relative([100, 300][at]);
                Cost { latency: 1.0, queue: f64::from(busy[at]) / strength, strength }
            };
            assert!((0..1_000).all(|_| shares.less_costly(cost, |_| 1.0, &draw) == Some(gets)), "{busy:?}");
        }
    }

    #[test]
    fn who_costs_a_little_more_still_gets_a_share() {
        let counts = shares(&[1, 1], |at| if at == 1 { 1.1 } else { 1.0 });
        assert!(counts[1] > 3_200 && counts[1] < 4_800, "{counts:?}");
    }

    #[test]
    fn one_is_picked_always_and_none_never() {
        assert_eq!(shares(&[7], |_| 1.0), [10_000]);
        assert_eq!(Shares::new(std::iter::empty()).less_costly(|_| IDLE, |_| 1.0, &Draw::with_seed(1)), None);
    }

    #[test]
    fn a_newcomer_gets_its_part_and_all_newcomers_share_equally() {
        let share = |parts: &[f64]| {
            let (shares, draw) = (Shares::new(parts.iter().map(|_| 100)), Draw::with_seed(5));
            let mut counts = vec![0; parts.len()];
            for _ in 0..10_000 {
                counts[shares.less_costly(|_| IDLE, |at| parts[at], &draw).unwrap()] += 1;
            }
            counts
        };
        let one_is_new = share(&[1.0, 1.0, 1.0, 0.1]);
        assert!((150..350).contains(&one_is_new[3]), "{one_is_new:?}");
        assert!(share(&[0.1; 4]).iter().all(|count| (2350..2650).contains(count)));
    }

    fn turns(weights: &[u32], picks: usize) -> Vec<usize> {
        let shares = Shares::new(weights.iter().copied());
        let picker = Picker::new(Policy::RoundRobin, Draw::with_seed(3));
        (0..picks).map(|_| shares.in_turn(&picker).unwrap()).collect()
    }

    #[test]
    fn equals_are_called_in_turn() {
        for round in turns(&[100; 3], 9).chunks(3) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
        assert_eq!(Shares::default().in_turn(&Picker::new(Policy::RoundRobin, Draw::with_seed(3))), None);
    }

    #[test]
    fn in_turn_by_weight_is_even_over_short_stretches_too() {
        let turns = turns(&[100, 300], 4_000);
        for stretch in turns.chunks(40) {
            let of_first = stretch.iter().filter(|at| **at == 0).count();
            assert!((8..=12).contains(&of_first), "{of_first} of 40");
        }
    }

    #[test]
    fn calls_in_flight_count_by_weight() {
        let shares = Shares::new([100, 300].into_iter());
        assert!((shares.relative(100) - 0.5).abs() < 1e-9);
        assert!((shares.relative(300) - 1.5).abs() < 1e-9);
    }
}
