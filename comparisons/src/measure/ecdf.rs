//! Shares of events by how long they took.

/// The most points of one line.
const MOST_POINTS: usize = 200;

/// The empirical distribution of a sample in at most 200 points, evenly spread over the shares: pairs of a value and the share of all up to it. All are
/// `of`, which is more than the sample where some have no value, since what they wait for never came: then it does not rise to 1.
#[must_use]
pub fn ecdf(sample: &[f64], of: usize) -> Vec<[f64; 2]> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (count, points) = (sorted.len(), sorted.len().min(MOST_POINTS));
    // The last of every part, so that the largest is among them.
    let rank = |point: usize| (point + 1) * count / points;
    let all = of.max(count) as f64;
    (0..points).map(|point| [sorted[rank(point) - 1], rank(point) as f64 / all]).collect()
}

/// The empirical distribution of a sample among `of`, drawn as the steps that it is: level up to each value, and after the last one up to `end`.
#[must_use]
pub fn steps(sample: &[f64], of: usize, end: f64) -> Vec<[f64; 2]> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all = of.max(sorted.len()) as f64;
    let share = |count: usize| if count == 0 { 0.0 } else { count as f64 / all };
    let step = |(before, value): (usize, &f64)| [[*value, share(before)], [*value, share(before + 1)]];
    let last = sorted.last().map_or(end, |last| last.max(end));
    let end = [last, share(sorted.len())];
    sorted.iter().enumerate().flat_map(step).chain([end]).collect()
}

/// One distribution of several, each with the same weight.
#[must_use]
pub fn pooled<'a>(lines: impl IntoIterator<Item = &'a [[f64; 2]]>) -> Vec<[f64; 2]> {
    let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let mut values: Vec<f64> = lines.iter().flat_map(|line| line.iter().map(|[value, _]| *value)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let share = |value: f64| {
        let up_to = |line: &&[[f64; 2]]| {
            let below = line.partition_point(|[x, _]| *x <= value);
            below.checked_sub(1).map_or(0.0, |last| line[last][1])
        };
        lines.iter().map(up_to).sum::<f64>() / lines.len() as f64
    };
    let all: Vec<_> = values.into_iter().map(|value| [value, share(value)]).collect();
    let points = all.len().min(MOST_POINTS);
    (0..points).map(|point| all[(point + 1) * all.len() / points - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::{ecdf, pooled, steps};

    #[test]
    fn it_rises_to_one_in_few_points() {
        let line = ecdf(&(1..=1_000).rev().map(f64::from).collect::<Vec<_>>(), 1_000);
        assert_eq!(line.len(), 200);
        assert_eq!((line[0], line[99], line[199]), ([5.0, 0.005], [500.0, 0.5], [1_000.0, 1.0]));
        assert_eq!(ecdf(&[3.0, 1.0], 2), [[1.0, 0.5], [3.0, 1.0]]);
        assert!(ecdf(&[], 0).is_empty());
    }

    #[test]
    fn it_does_not_rise_to_one_where_some_never_come() {
        assert_eq!(ecdf(&[3.0, 1.0], 4), [[1.0, 0.25], [3.0, 0.5]]);
        assert_eq!(
            steps(&[3.0, 1.0], 4, 9.0),
            [[1.0, 0.0], [1.0, 0.25], [3.0, 0.25], [3.0, 0.5], [9.0, 0.5]]
        );
        assert_eq!(steps(&[3.0], 1, 2.0), [[3.0, 0.0], [3.0, 1.0], [3.0, 1.0]]);
        assert_eq!(steps(&[], 4, 9.0), [[9.0, 0.0]], "none came");
    }

    #[test]
    fn several_are_pooled_by_equal_weight() {
        let (one, other) = (ecdf(&[1.0, 3.0], 2), ecdf(&[2.0], 1));
        let both = pooled([one.as_slice(), &[], &other]);
        assert_eq!(both, [[1.0, 0.25], [2.0, 0.75], [3.0, 1.0]]);
        let long = ecdf(&(0..500).map(f64::from).collect::<Vec<_>>(), 500);
        let both = pooled([long.as_slice(), &one]);
        assert!(both.len() <= 200 && both.last() == Some(&[499.0, 1.0]), "{both:?}");
        assert!(pooled([]).is_empty());
    }
}
