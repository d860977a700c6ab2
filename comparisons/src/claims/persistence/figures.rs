//! Figures of several arms made one.

use crate::measure::median;
use crate::record::Records;
use crate::report::format::{self, count, seconds};

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

/// How long something took, as said after `the living were listed again`. Where it `happened` never (0), the figure is the time that was given,
/// so that the middle is one of all runs and not of those that made it.
pub(super) fn took(records: &Records, arms: &[&str], figure: &str, happened: &str) -> String {
    let runs: Vec<f64> = arms.iter().flat_map(|arm| records.values(arm, happened)).collect();
    let did = runs.iter().filter(|did| **did > 0.0).count();
    let in_runs = format!("{} of {}", count(did as f64), format::runs(runs.len()));
    match middle(records, arms, figure) {
        Some(middle) if did == runs.len() => format!("after {} (median of {in_runs})", seconds(middle)),
        Some(middle) if did * 2 > runs.len() => {
            format!("after at least {} (median, all of them in {in_runs})", seconds(middle))
        }
        Some(_) => format!("in only {in_runs}"),
        None => "after an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{largest, middle, sum, took};
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
    #[test]
    fn what_never_happened_is_in_the_median_and_is_said() {
        let of = |took_s: &[f64]| {
            let run = |at| Record::new("a", 0).with("s", at).with("did", f64::from(u8::from(at < 20.0)));
            took(&took_s.iter().map(|at| run(*at)).collect(), &["a"], "s", "did")
        };
        assert_eq!(of(&[1.0, 2.0, 9.0]), "after 2 s (median of 3 of 3 runs)");
        assert_eq!(of(&[1.0, 2.0, 20.0]), "after at least 2 s (median, all of them in 2 of 3 runs)");
        assert_eq!(of(&[1.0, 20.0]), "in only 1 of 2 runs");
        assert_eq!(of(&[]), "after an unknown time");
    }
}
