//! What sentences have in common.

use crate::record::{Outcome, Records};
use crate::report::format::{NOTHING, count, runs};

/// A number, where there is one.
pub(in crate::claims) fn or_dash(number: Option<f64>, write: impl Fn(f64) -> String) -> String {
    number.map_or(NOTHING.to_owned(), write)
}

/// Why nothing is decided: something broke off that is not one of the arms `besides`, which decide nothing. A step that broke off as a whole may
/// have been of any arm.
pub(in crate::claims) fn broken_off(records: &Records, besides: impl Fn(&str) -> bool) -> Option<String> {
    let record = records.all().find(|record| record.is_broken_off() && !besides(&record.arm))?;
    match &record.outcome {
        Outcome::Failed { why } | Outcome::NotRun { why } => Some(format!("{} broke off: {why}", record.arm)),
        Outcome::Valid { .. } | Outcome::Invalid { .. } => None,
    }
}

/// In how many runs of these arms a figure is above 0, such as `3 of 5 runs`. Only runs that have it count.
pub(in crate::claims) fn in_runs(records: &Records, arms: &[&str], figure: &str) -> String {
    let values: Vec<f64> = arms.iter().flat_map(|arm| records.values(arm, figure)).collect();
    let so = values.iter().filter(|value| **value > 0.0).count();
    format!("{} of {}", count(so as f64), runs(values.len()))
}

#[cfg(test)]
mod tests {
    use super::{broken_off, in_runs};
    use crate::record::{Outcome, Record, Records};

    #[test]
    fn what_broke_off_decides_nothing_unless_its_arm_does_not_decide() {
        let failed = Outcome::Failed { why: "refused".to_owned() };
        let records = Records::from_iter([
            Record::new("a", 0).invalid("it did not bite"),
            Record { outcome: failed, ..Record::new("b", 0) },
        ]);
        assert_eq!(broken_off(&records, |_| false).as_deref(), Some("b broke off: refused"));
        assert_eq!(broken_off(&records, |arm| arm == "b"), None);
    }

    #[test]
    fn runs_are_counted_and_not_what_the_most_of_them_was() {
        let records =
            [("a", 0.0), ("a", 1.0), ("b", 0.0)].map(|(arm, told)| Record::new(arm, 0).with("told", told));
        let records = Records::from_iter(records);
        assert_eq!(in_runs(&records, &["a", "b"], "told"), "1 of 3 runs");
        assert_eq!(in_runs(&records, &["b"], "told"), "0 of 1 run");
        assert_eq!(in_runs(&records, &["c"], "told"), "0 of 0 runs");
    }
}
