//! What power cuts say. Pure.

use super::{
    ACKNOWLEDGED, ALL_AGAIN, DIFFERENCES, ETCD, LISTED_AGAIN, LOST, NAIVE_ALWAYS, NAIVE_EVERY_SECOND,
    NAIVE_NOTHING, NAIVE_SNAPSHOTS, OURS_ALWAYS, OURS_EVERY_SECOND, TOLD, TROUBLES, WINDOW,
};
use crate::claims::clustering::words::{broken_off, in_runs, or_dash};
use crate::claims::persistence::figures::{largest, sum, took};
use crate::finding::{Finding, Shown};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// What is documented for `everysec` at worst, in seconds: a sync once a second, and a write held back for as long.
const EVERY_SECOND_AT_WORST: f64 = 2.0;
/// So many times later the living must be listed again on etcd for it to be worth a word.
const LATER: f64 = 2.0;

pub(super) fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records, |arm| arm == NAIVE_NOTHING) {
        return Finding::undecided(why);
    }
    let lost = |arms: &[&str]| sum(records, arms, LOST);
    let (Some(always), Some(_), Some(etcd), Some(snapshots), Some(window)) = (
        lost(&[NAIVE_ALWAYS, OURS_ALWAYS]),
        lost(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]),
        lost(&[ETCD]),
        lost(&[NAIVE_SNAPSHOTS]),
        largest(records, &[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND], WINDOW),
    ) else {
        return Finding::undecided("not every setting was tried with the power cut");
    };
    let shown = Shown {
        naive: lost(&[NAIVE_SNAPSHOTS, NAIVE_EVERY_SECOND]).map(|lost| lost > 0.0),
        ours: Some(always > 0.0 || window > EVERY_SECOND_AT_WORST),
        etcd: Some(etcd > 0.0),
    };
    let of = |arms: &[&str]| or_dash(sum(records, arms, ACKNOWLEDGED), count);
    let lost_of = |arms: &[&str]| format!("{} of {}", or_dash(lost(arms), count), of(arms));
    let both = [NAIVE_EVERY_SECOND, OURS_EVERY_SECOND];
    let figure = format!(
        "of those acknowledged, lost: {} with snapshots, {} with everysec (registry-redis {}), {} with always, {} on etcd",
        lost_of(&[NAIVE_SNAPSHOTS]),
        lost_of(&both),
        lost_of(&[OURS_EVERY_SECOND]),
        count(always),
        count(etcd),
    );
    let first = format!(
        "With the default snapshots a power cut lost {}, with an append-only file synced every second {} (the oldest acknowledged {} before; registry-redis {}), and with one synced before each answer {}; etcd lost {}.",
        by_snapshots(records, snapshots, &lost_of(&[NAIVE_SNAPSHOTS])),
        lost_of(&both),
        seconds(window),
        lost_of(&[OURS_EVERY_SECOND]),
        lost_of(&[NAIVE_ALWAYS, OURS_ALWAYS]),
        lost_of(&[ETCD]),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, afterwards(records)] }
}

/// A server that is younger than its first save point loses all, which is arithmetic and is said as that.
fn by_snapshots(records: &Records, lost: f64, lost_of: &str) -> String {
    let since = or_dash(records.max(NAIVE_SNAPSHOTS, WINDOW), seconds);
    if records.sum(NAIVE_SNAPSHOTS, ACKNOWLEDGED) == Some(lost) {
        format!("{lost_of} acknowledged registrations, everything since the start ({since} at most)")
    } else {
        format!("{lost_of} acknowledged registrations (the oldest acknowledged {since} before)")
    }
}

/// What became of the loss, where it can be lost by configuration.
fn afterwards(records: &Records) -> String {
    let wrong = |arm| or_dash(records.sum(arm, DIFFERENCES), count);
    let told = |arm| {
        let troubles = or_dash(records.sum(arm, TROUBLES), count);
        format!("told of a gap in {} (and of {troubles} connection errors)", in_runs(records, &[arm], TOLD))
    };
    format!(
        "Afterwards, with everysec, a naive watcher was wrong about {} instances and was {}; with our backend it was wrong about {} and was {}, and all the living were listed again {}.",
        wrong(NAIVE_EVERY_SECOND),
        told(NAIVE_EVERY_SECOND),
        wrong(OURS_EVERY_SECOND),
        told(OURS_EVERY_SECOND),
        took(records, &[OURS_EVERY_SECOND], LISTED_AGAIN, ALL_AGAIN),
    )
}

pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let (etcd, ours) =
        (records.median(ETCD, LISTED_AGAIN)?, records.median(OURS_EVERY_SECOND, LISTED_AGAIN)?);
    (etcd > LATER * ours).then(|| {
        let again = |arm| took(records, &[arm], LISTED_AGAIN, ALL_AGAIN);
        let number = |arm, figure| or_dash(records.sum(arm, figure), count);
        format!(
            "After a power cut and a restart of the server, all the living were listed again on etcd {}, which had lost {} acknowledged registrations, and on Redis with our backend and everysec {}, which had lost {} of {}.",
            again(ETCD),
            number(ETCD, LOST),
            again(OURS_EVERY_SECOND),
            number(OURS_EVERY_SECOND, LOST),
            number(OURS_EVERY_SECOND, ACKNOWLEDGED),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::persistence::power_cut::ARMS;
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record};

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
    #[test]
    fn an_arm_that_decides_and_broke_off_decides_nothing() {
        for (broken, decides) in ARMS.map(|(arm, _)| (arm, arm != NAIVE_NOTHING)) {
            let record =
                |arm: &str| Record::new(arm, 0).with(ACKNOWLEDGED, 9.0).with(LOST, 0.0).with(WINDOW, 0.0);
            let outcome = Outcome::Failed { why: "refused".to_owned() };
            let failed = Record { outcome, ..Record::new(broken, 1) };
            let records = ARMS.iter().map(|(arm, _)| record(arm)).chain([failed]).collect();
            assert_eq!(judge(&records).verdict == Verdict::Undecided, decides, "{broken}");
        }
    }

    #[test]
    fn told_is_said_by_runs_and_all_since_the_start_is_said_as_that() {
        let record = |arm: &str, run: u32| {
            let told = f64::from(u8::from(run == 0));
            let record = Record::new(arm, run).with(ACKNOWLEDGED, 9.0).with(LOST, 9.0).with(WINDOW, 3.0);
            record.with(TOLD, told).with(TROUBLES, 2.0)
        };
        let records = ARMS.iter().flat_map(|(arm, _)| (0..3).map(|run| record(arm, run))).collect();
        let [first, second] = judge(&records).sentences;
        assert!(
            first.contains("27 of 27 acknowledged registrations, everything since the start (3 s"),
            "{first}"
        );
        assert!(second.contains("told of a gap in 1 of 3 runs (and of 6 connection errors)"), "{second}");
    }

    #[test]
    fn only_much_later_speaks_against_etcd_and_what_redis_lost_is_named_with_it() {
        let records = |etcd: f64| {
            let record =
                |arm, at| Record::new(arm, 0).with(LISTED_AGAIN, at).with(ALL_AGAIN, 1.0).with(LOST, 7.0);
            Records::from_iter([record(ETCD, etcd), record(OURS_EVERY_SECOND, 1.0)])
        };
        assert_eq!(against_etcd(&records(LATER)), None);
        let said = against_etcd(&records(LATER + 0.1)).unwrap();
        assert!(said.contains("everysec after 1 s (median of 1 of 1 run), which had lost 7"), "{said}");
    }
}
