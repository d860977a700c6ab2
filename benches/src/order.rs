//! In which order arms play. Pure.

use fastrand::Rng;

/// For each round of a step, all arms in the order in which they play: a permutation that is drawn anew for every round, so that over many of them each arm is in every
/// place, and follows every other arm, about equally often. Where the last of a round is the first of the next one, an arm follows itself: that befalls all alike. The same
/// random numbers give the same order.
#[must_use]
pub fn order(arms: usize, rounds: u32, random: &mut Rng) -> Vec<Vec<usize>> {
    let round = |_| {
        let mut all: Vec<usize> = (0..arms).collect();
        random.shuffle(&mut all);
        all
    };
    (0..rounds).map(round).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::order;

    const ROUNDS: u32 = 6_000;

    fn drawn(arms: usize) -> Vec<Vec<usize>> {
        order(arms, ROUNDS, &mut Rng::with_seed(8))
    }

    /// All are within a tenth of `expected`: six times what chance does.
    fn are_about(counts: &BTreeMap<[usize; 2], u32>, number: usize, expected: f64) {
        assert_eq!(counts.len(), number, "{counts:?}");
        for (of, count) in counts {
            assert!((f64::from(*count) / expected - 1.0).abs() < 0.1, "{of:?}: {count}, not {expected}");
        }
    }

    #[test]
    fn every_arm_plays_once_in_a_round() {
        for mut round in drawn(5) {
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2, 3, 4]);
        }
        assert!(order(0, 3, &mut Rng::with_seed(8)).iter().all(Vec::is_empty));
    }

    #[test]
    fn every_arm_is_in_every_place_about_equally_often() {
        for arms in [3, 5] {
            let mut counts = BTreeMap::new();
            for (place, arm) in drawn(arms).iter().flat_map(|round| round.iter().enumerate()) {
                *counts.entry([place, *arm]).or_default() += 1;
            }
            are_about(&counts, arms * arms, f64::from(ROUNDS) / arms as f64);
        }
    }

    #[test]
    fn within_a_round_every_arm_follows_every_other_about_equally_often() {
        for arms in [3, 5] {
            let mut counts = BTreeMap::new();
            for pair in drawn(arms).iter().flat_map(|round| round.windows(2)) {
                *counts.entry([pair[0], pair[1]]).or_default() += 1;
            }
            are_about(&counts, arms * (arms - 1), f64::from(ROUNDS) / arms as f64);
        }
    }

    #[test]
    fn across_rounds_every_arm_follows_every_arm_and_itself_about_equally_often() {
        let rounds = drawn(3);
        let mut counts = BTreeMap::new();
        for pair in rounds.windows(2) {
            *counts.entry([pair[0][2], pair[1][0]]).or_default() += 1;
        }
        are_about(&counts, 9, f64::from(ROUNDS - 1) / 9.0);
    }

    #[test]
    fn the_same_random_numbers_give_the_same_order_and_others_another() {
        let of = |seed| order(4, 20, &mut Rng::with_seed(seed));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
