//! How numbers are written in sentences and beside bars.

use crate::measure::median;
use crate::record::Records;

/// A whole number, in groups of three digits.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number <= -0.5 { format!("-{text}") } else { text }
}

/// Seconds, in ms below one.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds.abs() < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// Bytes, in B, KiB or MiB.
pub(super) fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    match bytes {
        bytes if bytes < KIB => format!("{bytes:.0} B"),
        bytes if bytes < KIB * KIB => format!("{:.1} KiB", bytes / KIB),
        bytes => format!("{:.1} MiB", bytes / KIB / KIB),
    }
}

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
    use super::{bytes, count, largest, middle, seconds, sum};
    use crate::record::{Record, Records};

    #[test]
    fn numbers_are_written_for_readers() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 56_153.4, -2_000.0].map(count),
            ["0", "999", "1,000", "56,153", "-2,000"]
        );
        assert_eq!([0.25, 1.26].map(seconds), ["250 ms", "1.3 s"]);
        assert_eq!([12.0, 1536.0, 5.0 * 1024.0 * 1024.0].map(bytes), ["12 B", "1.5 KiB", "5.0 MiB"]);
    }

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
