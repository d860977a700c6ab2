//! What the three experiments say alike.

use super::tally::{SILENT, TROUBLES, WRITTEN};
use crate::finding::Finding;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::count;

/// Whether one of `figures` was above zero for one of the `arms`; not, if `of` comes to `least` at each of them without; otherwise it is not known, and neither
/// is it if a run of them broke off.
pub(super) fn shown(
    records: &Records,
    arms: &[&str],
    figures: &[&str],
    of: &str,
    least: f64,
) -> Option<bool> {
    if broken_off(records, arms).is_some() {
        return None;
    }
    let is_above =
        |arm: &&str| figures.iter().any(|figure| records.max(arm, figure).is_some_and(|most| most > 0.0));
    if arms.iter().any(is_above) {
        return Some(true);
    }
    let is_enough = |arm: &&str| {
        figures.iter().all(|figure| records.values(arm, figure).len() == records.count(arm))
            && records.sum(arm, of).is_some_and(|sum| sum >= least)
    };
    arms.iter().all(is_enough).then_some(false)
}

/// Why nothing is decided if one of these arms broke off.
pub(super) fn broken_off(records: &Records, arms: &[&str]) -> Option<String> {
    let mut broken = records.all().filter(|record| record.is_broken_off());
    let record = broken.find(|record| arms.contains(&record.arm.as_str()))?;
    Some(format!("a run of {} broke off", record.arm))
}

/// Why nothing is decided: which of these arms broke off, or otherwise `too_few`.
pub(super) fn undecided(records: &Records, arms: &[&[&str]], too_few: &str) -> Finding {
    let broken = arms.iter().find_map(|arms| broken_off(records, arms));
    Finding::undecided(broken.unwrap_or_else(|| too_few.to_owned()))
}

/// `5 of 100`: how much of what was written was missed with no gap told, and in brackets how many connection errors were.
pub(super) fn missed(records: &Records, arms: &[&str]) -> String {
    let missed = of(sum(records, arms, SILENT), sum(records, arms, WRITTEN));
    format!("{missed} with no gap told ({} connection errors were)", count(sum(records, arms, TROUBLES)))
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
    use super::{shown, undecided};
    use crate::record::{Outcome, Record, Records};

    #[test]
    fn one_run_shows_it_and_only_enough_of_every_arm_show_that_it_is_not_there() {
        let run = |arm: &str, lost: f64| Record::new(arm, 0).with("lost", lost).with("written", 50.0);
        let other = Record::new("e", 0).with("written", 100.0);
        let records = [run("a", 0.0), run("a", 0.0), run("b", 0.0), run("c", 1.0), other];
        let records = Records::from_iter(records);
        let shown = |arms: &[&str]| shown(&records, arms, &["lost"], "written", 100.0);
        assert_eq!((shown(&["a"]), shown(&["b"]), shown(&["a", "b"])), (Some(false), None, None));
        assert_eq!((shown(&["c"]), shown(&["a", "c"])), (Some(true), Some(true)));
        assert_eq!((shown(&["d"]), shown(&["e"])), (None, None));
    }

    #[test]
    fn any_of_several_figures_shows_it() {
        let run = |arm: &str, wrong: f64| {
            Record::new(arm, 0).with("lost", 0.0).with("wrong", wrong).with("written", 9.0)
        };
        let records = Records::from_iter([run("a", 0.0), run("b", 1.0)]);
        let shown = |arm: &str, figures: &[&str]| shown(&records, &[arm], figures, "written", 9.0);
        assert_eq!(
            (shown("a", &["lost", "wrong"]), shown("b", &["lost", "wrong"])),
            (Some(false), Some(true))
        );
        assert_eq!((shown("b", &["lost"]), shown("b", &["lost", "late"])), (Some(false), None));
    }

    #[test]
    fn what_broke_off_decides_nothing() {
        let broken = Record { outcome: Outcome::Failed { why: "no port".to_owned() }, ..Record::new("a", 1) };
        let records = Records::from_iter([Record::new("a", 0).with("lost", 1.0), broken]);
        assert_eq!(shown(&records, &["a"], &["lost"], "written", 9.0), None);
        assert_eq!(undecided(&records, &[&["b"], &["a"]], "too few").figure, "a run of a broke off");
        assert_eq!(undecided(&records, &[&["b"]], "too few").figure, "too few");
    }
}
