//! How two arms compare: a ratio for each round, and how sure their median is.

use std::collections::BTreeMap;

use super::numbers::{median, quantile};
use crate::record::Records;

/// A ratio and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The median of the ratios.
    pub ratio: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// Of fewer rounds there is no interval.
pub const LEAST_PAIRS: usize = 8;

const RESAMPLES: usize = 2_000;

impl Interval {
    /// Whether it holds `ratio`.
    #[must_use]
    pub fn contains(&self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio)
    }
}

/// A figure of the arm `above`, divided by that of the arm `below`, for each round in which both count and have it; those of one step, in which the same
/// servers ran, together.
#[must_use]
pub fn ratios(records: &Records, figure: &str, above: &str, below: &str) -> Vec<Vec<f64>> {
    let by_round = |arm: &str| -> BTreeMap<(String, u32), f64> {
        let of_round =
            records.of(arm).map(|record| ((record.step.clone(), record.run), record.figure(figure)));
        of_round.filter_map(|(round, figure)| Some((round, figure.filter(|figure| *figure > 0.0)?))).collect()
    };
    let below = by_round(below);
    let mut by_step: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (round, figure) in by_round(above) {
        if let Some(below) = below.get(&round) {
            by_step.entry(round.0).or_default().push(figure / below);
        }
    }
    by_step.into_values().collect()
}

/// The median of ratios with the 95 % interval of a percentile bootstrap in two stages: steps are drawn anew 2,000 times, with repetitions, and in each the
/// rounds, by random numbers from `seed`; rounds of one step are alike in what is the same for as long as a server runs (Davison and Hinkley, "Bootstrap
/// Methods and their Application", 1997, 3.8). Of a single step only the rounds are. None of fewer rounds than [`LEAST_PAIRS`].
///
/// It holds the true ratio 19 times in 20 only from some 12 rounds on; of 8 it is 9 times in 10.
#[must_use]
pub fn bootstrap(ratios: &[Vec<f64>], seed: u64) -> Option<Interval> {
    let steps: Vec<&Vec<f64>> = ratios.iter().filter(|step| !step.is_empty()).collect();
    let all: Vec<f64> = ratios.iter().flatten().copied().collect();
    if all.len() < LEAST_PAIRS {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let medians: Option<Vec<f64>> = (0..RESAMPLES).map(|_| median(&redrawn(&steps, &mut random))).collect();
    let medians = medians?;
    Some(Interval { ratio: median(&all)?, low: quantile(&medians, 0.025)?, high: quantile(&medians, 0.975)? })
}

/// As many steps as there are, each with as many rounds as it has, drawn with repetitions.
fn redrawn(steps: &[&Vec<f64>], random: &mut fastrand::Rng) -> Vec<f64> {
    let mut drawn = Vec::new();
    for _ in steps {
        let step = steps[random.usize(..steps.len())];
        drawn.extend((0..step.len()).map(|_| step[random.usize(..step.len())]));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::{Interval, bootstrap, ratios};
    use crate::record::{Record, Records};

    /// What a loaded machine does to a median: some noise always, much now and then.
    fn noisy(random: &mut fastrand::Rng, latency: f64) -> f64 {
        let hiccup = if random.u8(..10) == 0 { 1.0 + 4.0 * random.f64() } else { 1.0 };
        latency * (0.9 + 0.2 * random.f64()) * hiccup
    }

    fn interval(random: &mut fastrand::Rng, rounds: usize, above: f64, below: f64) -> Interval {
        let ratios: Vec<f64> = (0..rounds).map(|_| noisy(random, above) / noisy(random, below)).collect();
        bootstrap(&[ratios], random.u64(..)).unwrap()
    }

    #[test]
    fn the_interval_of_a_thing_with_itself_contains_1() {
        for (rounds, least) in [(8, 86), (12, 91), (24, 91)] {
            let mut random = fastrand::Rng::with_seed(1);
            let contains = (0..100).filter(|_| interval(&mut random, rounds, 400.0, 400.0).contains(1.0));
            let contains = contains.count();
            assert!(contains >= least, "{contains} of 100, of {rounds} rounds");
        }
    }

    #[test]
    fn a_difference_of_a_quarter_is_found_through_the_noise() {
        let mut random = fastrand::Rng::with_seed(2);
        let found = (0..100).filter(|_| {
            let interval = interval(&mut random, 24, 500.0, 400.0);
            interval.low > 1.1 && interval.contains(1.25)
        });
        assert!(found.count() >= 90);
    }

    #[test]
    fn only_rounds_in_which_both_count_make_a_ratio() {
        let block = |arm: &str, step: &str, run, p50| {
            let record = Record::new(arm, run).with("p50_us", p50);
            Record { step: step.to_owned(), ..record }
        };
        let records = Records::from_iter([
            block("a", "1", 0, 300.0),
            block("b", "1", 0, 100.0),
            block("a", "1", 1, 900.0).invalid("slipped"),
            block("a", "1", 1, 200.0),
            block("b", "1", 1, 100.0),
            block("a", "1", 2, 900.0),
            block("b", "1", 2, 100.0).invalid("slipped"),
            block("a", "2", 3, 900.0),
            block("b", "1", 3, 100.0),
            Record::new("a", 4),
        ]);
        assert_eq!(ratios(&records, "p50_us", "a", "b"), [[3.0, 2.0]]);
        assert!(ratios(&records, "p99_us", "a", "b").is_empty());
    }

    #[test]
    fn of_few_rounds_nothing_is_said() {
        assert_eq!(bootstrap(&[vec![1.0; 7]], 1), None);
        assert_eq!(
            bootstrap(&[vec![1.0; 4], vec![], vec![1.0; 4]], 1),
            Some(Interval { ratio: 1.0, low: 1.0, high: 1.0 })
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let ratios: [Vec<f64>; 1] = [(1..=20).map(f64::from).collect()];
        assert_eq!(bootstrap(&ratios, 7), bootstrap(&ratios, 7));
    }

    /// What differs from one start of the servers to the next, and not from round to round.
    #[test]
    fn what_is_the_same_for_a_whole_step_makes_the_interval_wider() {
        let mut random = fastrand::Rng::with_seed(3);
        let contains = |by_step: bool, random: &mut fastrand::Rng| {
            let steps = (0..8).map(|_| {
                let of_step = 0.9 + 0.2 * random.f64();
                (0..3).map(|_| of_step * (0.99 + 0.02 * random.f64())).collect::<Vec<f64>>()
            });
            let steps: Vec<Vec<f64>> = steps.collect();
            let drawn = if by_step { steps } else { vec![steps.concat()] };
            bootstrap(&drawn, random.u64(..)).unwrap().contains(1.0)
        };
        let counted =
            |by_step, random: &mut fastrand::Rng| (0..200).filter(|_| contains(by_step, random)).count();
        let (by_step, by_round) = (counted(true, &mut random), counted(false, &mut random));
        assert!(by_step >= 180 && by_round < 175, "{by_step} and {by_round} of 200 hold the truth");
    }
}
