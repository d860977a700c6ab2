//! Picking by weight: at random, in turn, or two to choose from.

use super::random::Draw;
use super::round_robin::RoundRobin;

/// The index of one of `candidates` at random, each as likely as the `weight` that is told of it is large. One with weight 0 is never
/// picked, so there may be none.
///
/// Looks at all candidates, some of them twice; where one list serves many picks, [`Weighted`] is a table of it.
pub fn weighted<T>(candidates: &[T], weight: impl Fn(&T) -> u32, draw: &Draw) -> Option<usize> {
    let total = candidates.iter().map(|candidate| u64::from(weight(candidate))).sum();
    let mut left = draw.below_u64(total);
    candidates.iter().position(|candidate| {
        let weight = u64::from(weight(candidate));
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    })
}

/// The weights of candidates as running totals, made once for each list of them, such as a version of a view. A pick is a binary search:
/// O(log n), without allocation. Candidates with weight 0 are never picked.
///
/// A table of running totals, and not one of aliases (Walker, "An efficient method for generating discrete random variables with general
/// distributions", ACM TOMS 3(3), 1977), whose pick is O(1): only running totals can leave one candidate out ([`pair`](Self::pair)) and be
/// walked in turn ([`in_turn`](Self::in_turn)).
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    ends: Box<[u64]>,
    equal: bool,
}

impl Weighted {
    /// A table of these weights, in the order of the candidates.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let ends: Box<[u64]> = weights
            .into_iter()
            .scan(0, |total, weight| {
                *total += u64::from(weight);
                Some(*total)
            })
            .collect();
        let first = ends.first().copied().unwrap_or(0);
        let equal = first > 0 && ends.windows(2).all(|pair| pair[1] - pair[0] == first);
        Self { ends, equal }
    }

    /// How many candidates there are, those with weight 0 included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no candidate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sum of all weights; with 0 nothing can be picked.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// One at random, each as likely as its weight is large.
    #[must_use]
    pub fn pick(&self, draw: &Draw) -> Option<usize> {
        self.at(draw.below_u64(self.total()))
    }

    /// Two different ones at random, for a choice between them ([`p2c`](super::p2c)): the first by weight, the second by weight among the others.
    /// No second one where no other has a weight. Whoever chooses by load alone between the two gives little weights more than their share, and of two
    /// candidates half to each: a choice that goes by weight draws both with [`pick`](Self::pick).
    #[must_use]
    pub fn pair(&self, draw: &Draw) -> Option<(usize, Option<usize>)> {
        let first = self.pick(draw)?;
        Some((first, self.pick_another(first, draw)))
    }

    /// One at random, each as likely as its weight is large, but for the one at `but`. None where no other has a weight.
    #[must_use]
    pub fn pick_another(&self, but: usize, draw: &Draw) -> Option<usize> {
        let (start, end) = self.span(but);
        let others = self.total() - (end - start);
        let spot = draw.below_u64(others);
        self.at(if spot < start { spot } else { spot + (end - start) })
    }

    /// The next in turn, by weight, without runs of the same one: of any stretch of N picks, a candidate gets its share of N but for a few, which grow
    /// with log N. Candidates that all have the same weight come in plain turn.
    ///
    /// The turn is a mere counter, so that threads share it with one atomic addition, where nginx's smooth weighted round robin (the better known
    /// answer) changes a number of every candidate for every pick. Steps of the golden ratio fall into every span of the table as often as it is long,
    /// and never near the last ones (Knuth, "The Art of Computer Programming" 3, section 6.4, theorem S).
    #[must_use]
    pub fn in_turn(&self, turns: &RoundRobin) -> Option<usize> {
        /// 2^64 over the golden ratio.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        if self.equal {
            return turns.pick(&self.ends);
        }
        let spot = (turns.next() as u64).wrapping_mul(GOLDEN);
        self.at(scaled(spot, self.total()))
    }

    /// The candidate whose span `share` is in.
    fn at(&self, share: u64) -> Option<usize> {
        let at = self.ends.partition_point(|end| *end <= share);
        (at < self.ends.len()).then_some(at)
    }

    fn span(&self, at: usize) -> (u64, u64) {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        (start, self.ends.get(at).copied().unwrap_or(start))
    }
}

/// `spot`, of all numbers of 64 bits, as one below `bound`.
pub(super) fn scaled(spot: u64, bound: u64) -> u64 {
    // The high half of a 128-bit product is below the bound.
    ((u128::from(spot) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_picked_where_nobody_has_a_weight() {
        let (draw, turns) = (Draw::with_seed(1), RoundRobin::default());
        for weights in [&[][..], &[0], &[0, 0]] {
            let table = Weighted::new(weights.iter().copied());
            assert_eq!((table.pick(&draw), table.pair(&draw), table.in_turn(&turns)), (None, None, None));
            assert_eq!(weighted(weights, |weight| *weight, &draw), None);
        }
    }

    #[test]
    fn one_has_no_second_and_two_are_always_both() {
        let draw = Draw::with_seed(1);
        let table = |weights: &[u32]| Weighted::new(weights.iter().copied());
        assert_eq!(table(&[0, 7, 0]).pair(&draw), Some((1, None)));
        let two = table(&[1, 0, 10_000]);
        for _ in 0..1_000 {
            assert!(matches!(two.pair(&draw), Some((0, Some(2)) | (2, Some(0)))));
        }
    }

    #[test]
    fn equals_come_in_plain_turn() {
        let (table, turns) = (Weighted::new([100; 3]), RoundRobin::starting_at(1));
        let picks: Vec<_> = (0..6).filter_map(|_| table.in_turn(&turns)).collect();
        assert_eq!(picks, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn the_heaviest_weights_do_not_overflow() {
        let (table, draw) = (Weighted::new([u32::MAX; 1_000]), Draw::with_seed(1));
        assert!((0..1_000).all(|_| table.pick(&draw).is_some_and(|at| at < 1_000)));
    }
}
