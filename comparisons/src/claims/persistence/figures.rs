//! Figures of several arms made one.

use crate::measure::median;
use crate::record::Records;

/// The sum of a figure over several arms; none if one of them has no run that counts.
pub(super) fn sum(records: &Records, arms: &[&str], figure: &str) -> Option<f64> {
    arms.iter().map(|arm| records.sum(arm, figure)).sum()
}

/// The largest of a figure over several arms; none if none has it.
pub(super) fn largest(records: &Records, arms: &[&str], figure: &str) -> Option<f64> {
    arms.iter().filter_map(|arm| records.max(arm, figure)).reduce(f64::max)
}

/// The middle of a figure over the runs of several arms.
pub(super) fn middle(records: &Records, arms: &[&str], figure: &str) -> Option<f64> {
    let values: Vec<f64> = arms.iter().flat_map(|arm| records.values(arm, figure)).collect();
    median(&values)
}

#[cfg(test)]
mod tests {
    use super::{largest, middle, sum};
    use crate::record::{Record, Records};

    #[test]
    fn a_sum_needs_all_of_its_arms() {
        let record = |arm: &str, lost: f64| Record::new(arm, 0).with("lost", lost);
        let records = Records::from_iter([record("a", 1.0), record("a", 2.0), record("b", 6.0)]);
        assert_eq!(sum(&records, &["a", "b"], "lost"), Some(9.0));
        assert_eq!(sum(&records, &["a", "c"], "lost"), None);
        assert_eq!(largest(&records, &["a", "c"], "lost"), Some(2.0));
        assert_eq!(middle(&records, &["a", "b"], "lost"), Some(2.0));
    }
}
