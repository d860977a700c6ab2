//! What heartbeats say. Pure.

use super::{ETCD, GREW, NAIVE, OURS, WRITTEN};
use crate::claims::clustering::words::broken_off;
use crate::finding::{Finding, Shown};
use crate::record::Records;
use crate::report::format::bytes;

/// So many times what the other writes is more.
const MORE: f64 = 2.0;
/// Bytes for 1,000 heartbeats that nobody notices.
pub(super) const UNNOTICED: f64 = 10_000.0;

/// Whether the one writes noticeably more than the other.
fn is_more(one: f64, other: f64) -> bool {
    one > MORE * other && one > UNNOTICED
}

pub(super) fn judge(records: &Records) -> Finding {
    // A step that broke off as a whole is named after its run, and was of all arms.
    let besides = |arm: &str| arm.contains(", ") && ![NAIVE, OURS].contains(&arm);
    if let Some(why) = broken_off(records, besides) {
        return Finding::undecided(why);
    }
    let written = |arm| records.median(arm, WRITTEN);
    let (Some(naive), Some(ours), Some(etcd)) = (written(NAIVE), written(OURS), written(ETCD)) else {
        return Finding::undecided("the heartbeats of not every registry were measured");
    };
    let shown = Shown {
        naive: Some(is_more(naive, etcd)),
        ours: Some(is_more(ours, etcd)),
        etcd: Some(is_more(etcd, naive.min(ours))),
    };
    let [naive_bytes, ours_bytes, etcd_bytes] = [naive, ours, etcd].map(bytes);
    let figure = format!(
        "for 1,000 heartbeats, with AOF everysec: naive {naive_bytes}, ours {ours_bytes}; etcd {etcd_bytes}"
    );
    let first = format!(
        "For 1,000 heartbeats Redis with AOF everysec, an append-only file synced every second, wrote {naive_bytes} to its disk used naively and {ours_bytes} with our backend; etcd wrote {etcd_bytes}."
    );
    let of = |arm, figure| records.median(arm, figure).map_or("an unknown amount".to_owned(), bytes);
    let second = format!(
        "With a sync before each answer it was {} naively and {} with our backend; the append-only file itself grew by {} and {} for as many.",
        of("redis-naive hash, AOF always", WRITTEN),
        of("redis, AOF always", WRITTEN),
        of(NAIVE, GREW),
        of(OURS, GREW),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let (etcd, ours) = (records.median(ETCD, WRITTEN)?, records.median(OURS, WRITTEN)?);
    is_more(etcd, ours).then(|| {
        format!(
            "For 1,000 heartbeats etcd wrote {} to its disk, Redis with our backend and AOF everysec {}.",
            bytes(etcd),
            bytes(ours)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record};

    fn verdict(naive: f64, ours: f64, etcd: f64) -> Verdict {
        let record = |arm, bytes| Record::new(arm, 0).with(WRITTEN, bytes);
        judge(&Records::from_iter([record(NAIVE, naive), record(OURS, ours), record(ETCD, etcd)])).verdict
    }

    #[test]
    fn more_is_twice_as_much_and_enough_to_be_noticed() {
        let lots = 1e6;
        assert_eq!(verdict(lots, lots, lots / MORE - 1.0), Verdict::Confirmed);
        assert_eq!(verdict(lots, lots, lots / MORE), Verdict::Refuted);
        assert_eq!(verdict(lots, UNNOTICED, 0.0), Verdict::Depends);
        assert_eq!(verdict(UNNOTICED, UNNOTICED, 0.0), Verdict::Refuted);
    }

    #[test]
    fn etcd_may_write_more_as_well() {
        assert_eq!(verdict(1e6, 1e4, 1e6), Verdict::Refuted);
        assert_eq!(verdict(1e6, 1e6, 4e6), Verdict::Refuted);
    }

    #[test]
    fn what_was_not_measured_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let record = |arm| Record::new(arm, 0).with(WRITTEN, 1.0);
        let spoilt = Records::from_iter([record(NAIVE), record(OURS), record(ETCD).invalid("refused")]);
        assert_eq!(judge(&spoilt).verdict, Verdict::Undecided);
    }
    #[test]
    fn an_arm_that_decides_and_broke_off_decides_nothing() {
        let with_failed = |arm: &str| {
            let outcome = Outcome::Failed { why: "refused".to_owned() };
            let failed = Record { outcome, ..Record::new(arm, 1) };
            judge(
                &[NAIVE, OURS, ETCD]
                    .map(|arm| Record::new(arm, 0).with(WRITTEN, 1.0))
                    .into_iter()
                    .chain([failed])
                    .collect(),
            )
            .verdict
        };
        assert_eq!([NAIVE, OURS, ETCD, "run 0"].map(with_failed), [Verdict::Undecided; 4]);
        assert_eq!(
            ["redis, AOF always", "redis-naive key, AOF everysec"].map(with_failed),
            [Verdict::Refuted; 2]
        );
    }

    #[test]
    fn only_noticeably_more_speaks_against_etcd() {
        let records = |etcd: f64| {
            Records::from_iter(
                [(ETCD, etcd), (OURS, 1e5)].map(|(arm, bytes)| Record::new(arm, 0).with(WRITTEN, bytes)),
            )
        };
        assert_eq!(against_etcd(&records(MORE * 1e5)), None);
        assert!(against_etcd(&records(MORE * 1e5 + 1.0)).unwrap().contains("97.7 KiB"));
    }
}
