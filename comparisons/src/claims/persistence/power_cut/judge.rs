//! What power cuts say. Pure.

use super::{
    ACKNOWLEDGED, DIFFERENCES, ETCD, LISTED_AGAIN, LOST, NAIVE_ALWAYS, NAIVE_EVERY_SECOND, NAIVE_SNAPSHOTS,
    OURS_ALWAYS, OURS_EVERY_SECOND, TOLD, WINDOW,
};
use crate::claims::persistence::words::{count, largest, middle, seconds, sum};
use crate::finding::{Finding, Shown};
use crate::record::Records;

/// What is documented for `everysec` at worst, in seconds: a sync once a second, and a write held back for as long.
const EVERY_SECOND_AT_WORST: f64 = 2.0;

pub(super) fn judge(records: &Records) -> Finding {
    let lost = |arms: &[&str]| sum(records, arms, LOST);
    let window = largest(records, &[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND], WINDOW).unwrap_or_default();
    let always = lost(&[NAIVE_ALWAYS, OURS_ALWAYS]);
    let defaults = lost(&[NAIVE_SNAPSHOTS, NAIVE_EVERY_SECOND]);
    let every_second = lost(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]);
    let etcd = lost(&[ETCD]);
    let shown = Shown {
        naive: defaults.map(|lost| lost > 0.0),
        ours: always.zip(every_second).map(|(always, _)| always > 0.0 || window > EVERY_SECOND_AT_WORST),
        etcd: etcd.map(|lost| lost > 0.0),
    };
    let (Some(always), Some(every_second), Some(etcd), Some(snapshots)) =
        (always, every_second, etcd, lost(&[NAIVE_SNAPSHOTS]))
    else {
        return Finding::undecided("not every setting was tried with the power cut");
    };
    let of = |arms: &[&str]| count(sum(records, arms, ACKNOWLEDGED).unwrap_or_default());
    let figure = format!(
        "of those acknowledged, lost: {} of {} with snapshots, {} of {} with everysec, {} with always, {} on etcd",
        count(snapshots),
        of(&[NAIVE_SNAPSHOTS]),
        count(every_second),
        of(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]),
        count(always),
        count(etcd),
    );
    let first = format!(
        "With the default snapshots a power cut lost {} of {} acknowledged registrations, with an append-only file synced every second {} of {} (the oldest acknowledged {} before), and with one synced before each \
         answer {} of {}; etcd lost {} of {}.",
        count(snapshots),
        of(&[NAIVE_SNAPSHOTS]),
        count(every_second),
        of(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]),
        seconds(window),
        count(always),
        of(&[NAIVE_ALWAYS, OURS_ALWAYS]),
        count(etcd),
        of(&[ETCD]),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, afterwards(records)] }
}

/// What became of the loss, where it can be lost by configuration.
fn afterwards(records: &Records) -> String {
    let wrong = |arm| count(records.sum(arm, DIFFERENCES).unwrap_or_default());
    let told = |arm| records.max(arm, TOLD).unwrap_or_default() > 0.0;
    let again = middle(records, &[OURS_EVERY_SECOND], LISTED_AGAIN).map_or("never".to_owned(), seconds);
    format!(
        "Afterwards a naive watcher was wrong about {} instances and was {}; with our backend it was wrong about {} and was {}, and the living were listed again after {again}.",
        wrong(NAIVE_EVERY_SECOND),
        if told(NAIVE_EVERY_SECOND) { "told so" } else { "told nothing" },
        wrong(OURS_EVERY_SECOND),
        if told(OURS_EVERY_SECOND) { "told of the loss" } else { "told nothing" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::persistence::power_cut::{ARMS, NAIVE_NOTHING};
    use crate::finding::Verdict;
    use crate::record::Record;

    fn verdict(of: &[(&str, f64, f64)]) -> Verdict {
        let record = |arm: &str| {
            let (_, lost, window) =
                of.iter().find(|(name, ..)| *name == arm).copied().unwrap_or((arm, 0.0, 0.0));
            Record::new(arm, 0).with(ACKNOWLEDGED, 1000.0).with(LOST, lost).with(WINDOW, window)
        };
        judge(&ARMS.iter().map(|(arm, _)| record(arm)).collect()).verdict
    }

    #[test]
    fn a_loss_that_a_setting_prevents_belongs_to_the_setting() {
        assert_eq!(verdict(&[(NAIVE_SNAPSHOTS, 1000.0, 3.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(NAIVE_EVERY_SECOND, 1.0, EVERY_SECOND_AT_WORST)]), Verdict::Depends);
        assert_eq!(verdict(&[(NAIVE_NOTHING, 1000.0, 3.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[]), Verdict::Refuted);
    }

    #[test]
    fn a_loss_that_no_setting_prevents_is_rediss_own() {
        assert_eq!(verdict(&[(OURS_ALWAYS, 1.0, 0.1)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(NAIVE_ALWAYS, 1.0, 0.1)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(OURS_EVERY_SECOND, 9.0, EVERY_SECOND_AT_WORST + 0.1)]), Verdict::Confirmed);
    }

    #[test]
    fn etcd_must_lose_nothing() {
        assert_eq!(verdict(&[(ETCD, 1.0, 0.1), (OURS_ALWAYS, 1.0, 0.1)]), Verdict::Refuted);
    }

    #[test]
    fn a_setting_that_was_not_tried_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        for (missing, _) in ARMS.iter().filter(|(arm, _)| *arm != NAIVE_NOTHING) {
            let record = |arm: &str| {
                let record = Record::new(arm, 0).with(ACKNOWLEDGED, 1000.0).with(LOST, 0.0);
                if arm == *missing { record.invalid("the fault did not bite") } else { record }
            };
            let records = ARMS.iter().map(|(arm, _)| record(arm)).collect();
            assert_eq!(judge(&records).verdict, Verdict::Undecided, "without {missing}");
        }
    }
}
