//! What the three experiments say alike.

use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::count;

/// Whether `figure` was above zero for one of the `arms`; not, if `of` comes to `least` at each of them without; otherwise it is not known.
pub(super) fn shown(records: &Records, arms: &[&str], figure: &str, of: &str, least: f64) -> Option<bool> {
    if arms.iter().any(|arm| records.max(arm, figure).is_some_and(|most| most > 0.0)) {
        return Some(true);
    }
    let is_enough = |arm: &&str| {
        records.values(arm, figure).len() == records.count(arm)
            && records.sum(arm, of).is_some_and(|sum| sum >= least)
    };
    arms.iter().all(is_enough).then_some(false)
}

/// The sum of `figure` over all runs of all `arms`.
pub(super) fn sum(records: &Records, arms: &[&str], figure: &str) -> f64 {
    arms.iter().filter_map(|arm| records.sum(arm, figure)).sum()
}

/// `5 of 100`.
pub(super) fn of(part: f64, whole: f64) -> String {
    format!("{} of {}", count(part), count(whole))
}

/// One bar for each arm that counts: `figure` of `whole`, in percent, with `note` after it.
pub(super) fn bars(
    records: &Records,
    title: String,
    x: &str,
    figure: &str,
    whole: &str,
    note: impl Fn(&str) -> String,
) -> Vec<Picture> {
    let bar = |arm: &str| {
        let (part, whole) = (records.sum(arm, figure)?, records.sum(arm, whole)?);
        let length = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let label = format!("{}{}", of(part, whole), note(arm));
        Some(Bar { name: arm.to_owned(), length, label, bad: part > 0.0 })
    };
    let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
    if bars.is_empty() {
        return Vec::new();
    }
    vec![Picture { title, drawing: Drawing::Bars { x: x.to_owned(), bars } }]
}

#[cfg(test)]
mod tests {
    use super::shown;
    use crate::record::{Record, Records};

    #[test]
    fn one_run_shows_it_and_only_enough_of_every_arm_show_that_it_is_not_there() {
        let run = |arm: &str, lost: f64| Record::new(arm, 0).with("lost", lost).with("written", 50.0);
        let other = Record::new("e", 0).with("written", 100.0);
        let records = [run("a", 0.0), run("a", 0.0), run("b", 0.0), run("c", 1.0), other];
        let records = Records::from_iter(records);
        let shown = |arms: &[&str]| shown(&records, arms, "lost", "written", 100.0);
        assert_eq!((shown(&["a"]), shown(&["b"]), shown(&["a", "b"])), (Some(false), None, None));
        assert_eq!((shown(&["c"]), shown(&["a", "c"])), (Some(true), Some(true)));
        assert_eq!((shown(&["d"]), shown(&["e"])), (None, None));
    }
}
