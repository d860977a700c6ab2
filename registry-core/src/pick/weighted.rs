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

/// The weights of candidates as running totals, made once for each list of them, such as a version of a view. A pick takes as long of many as of few,
/// on average, and does not allocate. Candidates with weight 0 are never picked.
///
/// A table of running totals with a guide to it (Chen and Asau, "On generating random variates from an empirical distribution", AIIE Transactions
/// 6(2), 1974), and not one of aliases (Walker, "An efficient method for generating discrete random variables with general
/// distributions", ACM TOMS 3(3), 1977): only running totals can leave one candidate out ([`pair`](Self::pair)) and be walked in turn
/// ([`in_turn`](Self::in_turn)).
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    ends: Box<[u64]>,
    /// By which of as many equal parts of all a spot lies in: the first candidate that it can belong to.
    guide: Box<[u32]>,
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
        let guide = if equal { Box::default() } else { guide(&ends) };
        Self { ends, guide, equal }
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
    #[inline]
    pub fn pick(&self, draw: &Draw) -> Option<usize> {
        self.at_spot(draw.next())
    }

    /// Two different ones at random, for a choice between them ([`p2c`](super::p2c)): the first by weight, the second by weight among the others.
    /// No second one where no other has a weight. Whoever chooses by load alone between the two gives little weights more than their share, and of two
    /// candidates half to each: a choice that goes by weight leaves the first one only for a reason.
    #[must_use]
    #[inline]
    pub fn pair(&self, draw: &Draw) -> Option<(usize, Option<usize>)> {
        if self.equal {
            let two = draw.two_below(self.len()).map(|(first, second)| (first, Some(second)));
            return two.or(Some((0, None)));
        }
        let first = self.pick(draw)?;
        // One that may be the first has the same chances among the others as one that cannot be, and is found sooner.
        let second = self.pick(draw).filter(|second| *second != first);
        Some((first, second.or_else(|| self.pick_another(first, draw))))
    }

    /// One at random, each as likely as its weight is large, but for the one at `but`. None where no other has a weight.
    #[must_use]
    pub fn pick_another(&self, but: usize, draw: &Draw) -> Option<usize> {
        let (start, end) = self.span(but);
        let others = self.total() - (end - start);
        let share = draw.below_u64(others);
        let share = if share < start { share } else { share + (end - start) };
        let at = self.ends.partition_point(|end| *end <= share);
        (at < self.ends.len()).then_some(at)
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
        self.at_spot((turns.next() as u64).wrapping_mul(GOLDEN))
    }

    /// The candidate whose part of all numbers `spot` is in.
    #[inline]
    fn at_spot(&self, spot: u64) -> Option<usize> {
        if self.equal {
            return Some(scaled(spot, self.ends.len() as u64) as usize);
        }
        let share = scaled(spot, self.total());
        let mut at = *self.guide.get(scaled(spot, self.guide.len() as u64) as usize)? as usize;
        while *self.ends.get(at)? <= share {
            at += 1;
        }
        Some(at)
    }

    fn span(&self, at: usize) -> (u64, u64) {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        (start, self.ends.get(at).copied().unwrap_or(start))
    }
}

/// For each of as many equal parts of all spots as there are candidates: whose the lowest of them is. None where nobody has a weight.
fn guide(ends: &[u64]) -> Box<[u32]> {
    let (parts, total) = (ends.len(), ends.last().copied().unwrap_or(0));
    if total == 0 {
        return Box::default();
    }
    let mut at = 0;
    let first_of = |part: usize| {
        let lowest = ((part as u128) << 64).div_ceil(parts as u128) as u64;
        let share = scaled(lowest, total);
        at += ends[at..].partition_point(|end| *end <= share);
        // Too low is no harm.
        u32::try_from(at).unwrap_or(u32::MAX)
    };
    (0..parts).map(first_of).collect()
}

/// `spot`, of all numbers of 64 bits, as one below `bound`.
#[inline]
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
    fn the_guide_leads_to_whose_a_spot_is() {
        let draw = Draw::with_seed(4);
        let tables: [Vec<u32>; 5] = [
            vec![7, 0, 0, 1],
            vec![0, 0, 5],
            vec![1, u32::MAX, 1, 0],
            (0..1_000).map(|at| at % 3 * 100).collect(),
            (0..100).map(|_| draw.below(1 << 20) as u32).collect(),
        ];
        for weights in tables {
            let table = Weighted::new(weights.iter().copied());
            let random = (0..10_000).map(|_| draw.next());
            let steps = (0..=u64::from(u16::MAX)).map(|step| step << 48 | step);
            for spot in random.chain(steps).chain([0, u64::MAX]) {
                let share = scaled(spot, table.total());
                let searched = table.ends.partition_point(|end| *end <= share);
                assert_eq!(table.at_spot(spot), Some(searched), "{spot} of {} candidates", weights.len());
                assert!(weights[searched] > 0);
            }
        }
    }

    #[test]
    fn of_a_pair_the_second_is_as_likely_as_its_weight_among_the_others() {
        let draw = Draw::with_seed(5);
        for weights in [[1, 2, 3, 4], [100; 4], [1, 1, 1, 97], [0, 10, 20, 70]] {
            let table = Weighted::new(weights);
            let (total, picks) = (weights.iter().sum::<u32>(), 200_000);
            let mut counts = [[0_u32; 4]; 4];
            for _ in 0..picks {
                let (first, second) = table.pair(&draw).unwrap();
                counts[first][second.unwrap()] += 1;
            }
            for (first, counts) in counts.iter().enumerate() {
                for (second, count) in counts.iter().enumerate() {
                    let of_first = f64::from(weights[first]) / f64::from(total);
                    let of_second = f64::from(weights[second]) / f64::from(total - weights[first]);
                    let likely = if first == second { 0.0 } else { of_first * of_second };
                    let off = f64::from(*count) - likely * f64::from(picks);
                    // Five standard deviations.
                    let bound = 5.0 * (likely * (1.0 - likely) * f64::from(picks)).sqrt();
                    assert!(off.abs() <= bound, "{first}, {second} of {weights:?}: {off} of {bound}");
                }
            }
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
