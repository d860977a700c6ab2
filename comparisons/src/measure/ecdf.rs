//! Shares of events by how long they took.

/// The most points of one line.
const MOST_POINTS: usize = 200;

/// The empirical distribution of a sample in at most 200 points, evenly spread over the shares: pairs of a value and the share of the sample up to it.
#[must_use]
pub fn ecdf(sample: &[f64]) -> Vec<[f64; 2]> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (count, points) = (sorted.len(), sorted.len().min(MOST_POINTS));
    // The last of every part, so that the largest is among them.
    let rank = |point: usize| (point + 1) * count / points;
    (0..points).map(|point| [sorted[rank(point) - 1], rank(point) as f64 / count as f64]).collect()
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
    use super::{ecdf, pooled};

    #[test]
    fn it_rises_to_one_in_few_points() {
        let line = ecdf(&(1..=1_000).rev().map(f64::from).collect::<Vec<_>>());
        assert_eq!(line.len(), 200);
        assert_eq!((line[0], line[99], line[199]), ([5.0, 0.005], [500.0, 0.5], [1_000.0, 1.0]));
        assert_eq!(ecdf(&[3.0, 1.0]), [[1.0, 0.5], [3.0, 1.0]]);
        assert!(ecdf(&[]).is_empty());
    }

    #[test]
    fn several_are_pooled_by_equal_weight() {
        let (one, other) = (ecdf(&[1.0, 3.0]), ecdf(&[2.0]));
        let both = pooled([one.as_slice(), &[], &other]);
        assert_eq!(both, [[1.0, 0.25], [2.0, 0.75], [3.0, 1.0]]);
        let long = ecdf(&(0..500).map(f64::from).collect::<Vec<_>>());
        let both = pooled([long.as_slice(), &one]);
        assert!(both.len() <= 200 && both.last() == Some(&[499.0, 1.0]), "{both:?}");
        assert!(pooled([]).is_empty());
    }
}
