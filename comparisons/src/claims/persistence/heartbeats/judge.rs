//! What heartbeats say. Pure.

use super::{ETCD, GREW, NAIVE, OURS, WRITTEN};
use crate::claims::persistence::words::bytes;
use crate::finding::{Finding, Shown};
use crate::record::Records;

/// So many times what the other writes is more.
const MORE: f64 = 2.0;
/// Bytes for 1,000 heartbeats that nobody notices.
pub(super) const UNNOTICED: f64 = 10_000.0;

/// Whether the one writes noticeably more than the other.
pub(super) fn is_more(one: f64, other: f64) -> bool {
    one > MORE * other && one > UNNOTICED
}

pub(super) fn judge(records: &Records) -> Finding {
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
        "for 1,000 heartbeats, AOF everysec: naive {naive_bytes}, ours {ours_bytes}, etcd {etcd_bytes}"
    );
    let first = format!(
        "For 1,000 heartbeats Redis with an append-only file synced every second wrote {naive_bytes} to its disk used naively and {ours_bytes} with our backend; etcd wrote {etcd_bytes}."
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

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
}
