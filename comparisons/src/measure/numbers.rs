//! The usual numbers of a sample.

/// The middle one, or the mean of the two in the middle; none of an empty sample.
#[must_use]
pub fn median(sample: &[f64]) -> Option<f64> {
    quantile(sample, 0.5)
}

/// The middle one of those that happened and of `never` more, which took longer than any: infinite if these are half or more; none of nothing.
#[must_use]
pub fn median_with_never(happened: &[f64], never: usize) -> Option<f64> {
    let all = happened.len() + never;
    let mut sorted = happened.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.get(all / 2) {
        _ if all == 0 => None,
        Some(above) => Some(f64::midpoint(sorted[(all - 1) / 2], *above)),
        None => Some(f64::INFINITY),
    }
}

/// The value below which the share `q` of the sample lies, interpolated between neighbours; none of an empty sample.
#[must_use]
pub fn quantile(sample: &[f64], q: f64) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

#[cfg(test)]
mod tests {
    use super::{median, median_with_never, quantile};

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.99), Some(9.9));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), Some(3.0));
    }

    #[test]
    fn a_median_is_not_that_of_survivors() {
        assert_eq!(median_with_never(&[3.0, 1.0, 2.0, 4.0], 0), Some(2.5));
        assert_eq!(median_with_never(&[3.0, 1.0, 2.0], 2), Some(3.0));
        assert_eq!(median_with_never(&[3.0, 1.0], 1), Some(3.0));
        assert_eq!(median_with_never(&[3.0, 1.0], 2), Some(f64::INFINITY), "half of them");
        assert_eq!(median_with_never(&[], 1), Some(f64::INFINITY));
        assert_eq!(median_with_never(&[], 0), None);
    }
}
