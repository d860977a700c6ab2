//! How two arms compare: a ratio for each round, and how sure their median is.

use std::collections::BTreeMap;

use super::numbers::{median, quantile};
use crate::record::Records;

/// A ratio and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The ratio itself: a median, or the mean of the steps' medians.
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

    /// That of so many times the ratio.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self { ratio: self.ratio * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// A figure of the arm `above`, divided by that of the arm `below`, for each round in which both count and have it; those of one step, in which the same
/// servers ran, together.
#[must_use]
pub fn ratios(records: &Records, figure: &str, above: &str, below: &str) -> Vec<Vec<f64>> {
    ratios_less(records, figure, above, below, None)
}

/// The same of what is left when the figure of the arm `less` in the same round is taken off both: what is in all of them and in neither's account.
#[must_use]
pub fn ratios_less(
    records: &Records,
    figure: &str,
    above: &str,
    below: &str,
    less: Option<&str>,
) -> Vec<Vec<f64>> {
    let by_round = |arm: &str| -> BTreeMap<(String, u32), f64> {
        let of_round =
            records.of(arm).map(|record| ((record.step.clone(), record.run), record.figure(figure)));
        of_round.filter_map(|(round, figure)| Some((round, figure?))).collect()
    };
    let (below, off) = (by_round(below), less.map(by_round));
    let mut by_step: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (round, above) in by_round(above) {
        let off = off.as_ref().map_or(Some(0.0), |off| off.get(&round).copied());
        let (Some(below), Some(off)) = (below.get(&round), off) else { continue };
        let (above, below) = (above - off, below - off);
        if above > 0.0 && below > 0.0 {
            by_step.entry(round.0).or_default().push(above / below);
        }
    }
    by_step.into_values().collect()
}

/// The median of ratios with the 95 % interval of a percentile bootstrap in two stages: steps are drawn anew 2,000 times, with repetitions, and in each the
/// rounds, by random numbers from `seed`; rounds of one step are alike in what is the same for as long as a server runs (Davison and Hinkley, "Bootstrap
/// Methods and their Application", 1997, 3.8). Of a single step only the rounds are. None of fewer rounds than [`LEAST_PAIRS`].
///
/// It holds the true ratio 19 times in 20 only from some 12 rounds on; of 8 it is 9 times in 10. Of few steps that differ it is too narrow, since it never
/// leaves what they happened to be: for these there is [`between_steps`].
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

/// The ratio as the steps have it, each of which started its servers anew: the mean of their medians with its 95 % interval by Student's t, both of logarithms. Only
/// steps are drawn independently of each other; what is the same for as long as a server runs makes rounds of one step alike. None of a single step, or of fewer
/// rounds than [`LEAST_PAIRS`]; a ratio that is not above 0 is left out.
#[must_use]
pub fn between_steps(ratios: &[Vec<f64>]) -> Option<Interval> {
    let positive = |step: &Vec<f64>| step.iter().copied().filter(|ratio| *ratio > 0.0).collect::<Vec<f64>>();
    let steps: Vec<Vec<f64>> = ratios.iter().map(positive).collect();
    if steps.iter().map(Vec::len).sum::<usize>() < LEAST_PAIRS {
        return None;
    }
    let logarithms: Vec<f64> = steps.iter().filter_map(|step| median(step)).map(f64::ln).collect();
    let degrees = logarithms.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
    let squares: f64 = logarithms.iter().map(|logarithm| (logarithm - mean).powi(2)).sum();
    let error = (squares / degrees as f64 / logarithms.len() as f64).sqrt();
    let t = STUDENT.get(degrees - 1).or(STUDENT.last())?;
    Some(Interval { ratio: mean.exp(), low: (mean - t * error).exp(), high: (mean + t * error).exp() })
}

/// The 97.5th percentile of Student's t with 1, 2, 3 … degrees of freedom; with more it is less than the last.
const STUDENT: [f64; 15] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
];

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
    use super::{Interval, between_steps, bootstrap, ratios};
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

    /// Steps whose ratios are 1 but for what is the same for a whole step, up to `by_step` more or less (in logarithms), and the noise of each round.
    fn steps(random: &mut fastrand::Rng, count: usize, rounds: usize, by_step: f64) -> Vec<Vec<f64>> {
        let step = |_| {
            let of_step = (by_step * (2.0 * random.f64() - 1.0)).exp();
            (0..rounds).map(|_| of_step * noisy(random, 1.0) / noisy(random, 1.0)).collect()
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn between_steps_the_interval_holds_the_truth_about_19_times_in_20_of_however_few_steps() {
        for (count, rounds) in [(2, 10), (3, 10), (6, 50), (8, 4)] {
            for by_step in [0.0, 0.05, 0.4] {
                let mut random = fastrand::Rng::with_seed(5);
                let holds = (0..1_000).filter(|_| {
                    let interval = between_steps(&steps(&mut random, count, rounds, by_step)).unwrap();
                    interval.contains(1.0)
                });
                let holds = holds.count();
                // Student's t is exact for what is normally distributed. Of three steps that are anywhere between two ends, as here, it is 93 in 100.
                assert!(holds >= 920, "{holds} of 1,000: {count} steps that differ by {by_step}");
            }
        }
    }

    #[test]
    fn between_steps_a_difference_is_found_where_steps_agree() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut interval = || {
            let ratios = steps(&mut random, 6, 50, 0.02);
            between_steps(
                &ratios.iter().map(|step| step.iter().map(|ratio| ratio * 1.2).collect()).collect::<Vec<_>>(),
            )
        };
        let found = (0..100).filter_map(|_| interval()).filter(|found| found.low > 1.1 && found.high < 1.3);
        assert!(found.count() >= 95);
    }

    #[test]
    fn between_steps_nothing_is_said_of_one_step_of_few_rounds_or_of_what_has_no_logarithm() {
        assert_eq!(between_steps(&[vec![1.0; 20]]), None);
        assert_eq!(between_steps(&[vec![1.0; 4], vec![1.0; 3]]), None);
        assert_eq!(between_steps(&[vec![1.0; 8], vec![0.0; 8]]), None);
        let alike = Interval { ratio: 1.0, low: 1.0, high: 1.0 };
        assert_eq!(between_steps(&[vec![1.0; 4], vec![], vec![1.0, 0.0, 1.0, 1.0, 1.0]]), Some(alike));
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
