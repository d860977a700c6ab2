//! What partitions say. Pure.

use super::{
    BOTH, CAUTIOUS, ETCD, LOST_MEANWHILE, MEANWHILE, NAIVE, OURS, PARTITION, REFUSED_AFTER, WAITING,
};
use crate::claims::clustering::aftermath::{ACKNOWLEDGED, LOST, TOLD, TROUBLES};
use crate::claims::clustering::words::{broken_off, in_runs, or_dash};
use crate::finding::{Finding, Shown};
use crate::record::Records;
use crate::report::format::{count, runs, seconds};

/// An old primary that acknowledged so shortly before the end of the partition, in seconds, did so to its end.
const TO_THE_END: f64 = 0.25;

/// It speaks against etcd if its leader stops so much sooner, in seconds.
const SOONER: f64 = 0.5;

pub(super) fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records, |arm| [WAITING, CAUTIOUS].contains(&arm)) {
        return Finding::undecided(why);
    }
    let shown = |arm: &str| records.sum(arm, LOST).map(|lost| lost > 0.0);
    let shown = Shown { naive: shown(NAIVE), ours: shown(OURS), etcd: shown(ETCD) };
    let (Some(_), Some(_)) = (shown.ours, shown.etcd) else {
        return Finding::undecided(format!("no run of {OURS} or of {ETCD} counts"));
    };
    let lost = |arm: &str| or_dash(records.sum(arm, LOST), count);
    let middle = |arm: &str, figure| or_dash(records.median(arm, figure), seconds);
    let of = |arm: &str| or_dash(records.sum(arm, ACKNOWLEDGED), count);
    let figure = format!(
        "two primaries for {} of a partition of {}, {} of {} lost; etcd {} of {}",
        middle(OURS, BOTH),
        middle(OURS, PARTITION),
        lost(OURS),
        of(OURS),
        lost(ETCD),
        of(ETCD)
    );
    let first = format!(
        "In a partition of {} a Redis primary that was cut off with a client beside it acknowledged registrations {}, for {} beside its successor (medians of {}), and {} of the {} that were acknowledged on both sides \
         were lost after healing; the hash that people write lost {} of {}, etcd {} of {}.",
        middle(OURS, PARTITION),
        how_long(records),
        middle(OURS, BOTH),
        runs(records.count(OURS)),
        lost(OURS),
        of(OURS),
        lost(NAIVE),
        of(NAIVE),
        lost(ETCD),
        of(ETCD)
    );
    let second = format!(
        "Watchers of registry-redis were told of a gap in {} (and of {} connection errors); with WAIT for one replica {} were lost, and with min-replicas-to-write, which stopped the old primary after {} at the latest, {}.",
        in_runs(records, &[OURS], TOLD),
        or_dash(records.sum(OURS, TROUBLES), count),
        lost(WAITING),
        or_dash(records.max(CAUTIOUS, REFUSED_AFTER), seconds),
        lost(CAUTIOUS)
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

/// Until when the old primary went on.
fn how_long(records: &Records) -> String {
    match (records.median(OURS, REFUSED_AFTER), records.median(OURS, PARTITION)) {
        (Some(last), Some(end)) if end - last <= TO_THE_END => {
            "to its end, so for all the rest of it after the promotion".to_owned()
        }
        (Some(last), _) => format!("for {}", seconds(last)),
        (None, _) => "for an unknown time".to_owned(),
    }
}

pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let (etcd, redis) = (records.max(ETCD, REFUSED_AFTER)?, records.max(OURS, REFUSED_AFTER)?);
    (etcd + SOONER < redis).then(|| {
        let sum = |figure: &str| or_dash(records.sum(OURS, figure), count);
        format!(
            "Beside a leader that is cut off, nobody can register with etcd: the last registration was acknowledged {} after the cut at the latest, where a Redis primary went on for {}; of the {} that it acknowledged meanwhile {} were \
             lost.",
            seconds(etcd),
            seconds(redis),
            sum(MEANWHILE),
            sum(LOST_MEANWHILE)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record};

    fn records(naive: f64, ours: f64, etcd: f64) -> Vec<Record> {
        let arms = [(NAIVE, naive), (OURS, ours), (ETCD, etcd)];
        arms.map(|(arm, lost)| Record::new(arm, 0).with(LOST, lost)).to_vec()
    }

    fn judged(naive: f64, ours: f64, etcd: f64) -> Verdict {
        judge(&records(naive, ours, etcd).into_iter().collect()).verdict
    }

    #[test]
    fn one_lost_registration_of_ours_confirms_it_unless_etcd_lost_one_too() {
        assert_eq!(judged(1.0, 1.0, 0.0), Verdict::Confirmed);
        assert_eq!(judged(1.0, 1.0, 1.0), Verdict::Refuted);
        assert_eq!(judged(1.0, 0.0, 0.0), Verdict::Depends);
        assert_eq!(judged(0.0, 0.0, 0.0), Verdict::Refuted);
    }

    #[test]
    fn without_runs_that_count_nothing_is_decided() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let spoilt = records(1.0, 1.0, 0.0).into_iter().map(|record| record.invalid("it did not bite"));
        assert_eq!(judge(&spoilt.collect()).verdict, Verdict::Undecided);
    }

    #[test]
    fn a_usual_set_up_that_broke_off_decides_nothing_and_another_does_not_matter() {
        let with_failed = |arm: &str| {
            let outcome = Outcome::Failed { why: "refused".to_owned() };
            let failed = Record { outcome, ..Record::new(arm, 1) };
            judge(&records(1.0, 1.0, 0.0).into_iter().chain([failed]).collect()).verdict
        };
        assert_eq!([OURS, ETCD, "all"].map(with_failed), [Verdict::Undecided; 3]);
        assert_eq!([WAITING, CAUTIOUS].map(with_failed), [Verdict::Confirmed; 2]);
    }

    #[test]
    fn the_old_primary_went_on_to_the_end_only_if_it_did() {
        let of = |last| {
            how_long(
                &[Record::new(OURS, 0).with(REFUSED_AFTER, last).with(PARTITION, 6.0)].into_iter().collect(),
            )
        };
        assert!(of(6.0 - TO_THE_END).contains("to its end"));
        assert_eq!(of(5.7), "for 5.7 s");
    }

    #[test]
    fn where_etcd_stops_sooner_it_is_said_what_redis_lost_for_going_on() {
        let records = |etcd: f64, redis: f64| {
            let redis = Record::new(OURS, 0).with(REFUSED_AFTER, redis).with(MEANWHILE, 600.0);
            Records::from_iter([
                Record::new(ETCD, 0).with(REFUSED_AFTER, etcd),
                redis.with(LOST_MEANWHILE, 599.0),
            ])
        };
        assert_eq!(against_etcd(&records(6.0 - SOONER, 6.0)), None);
        let said = against_etcd(&records(0.1, 6.0)).unwrap();
        assert!(said.contains("of the 600 that it acknowledged meanwhile 599 were lost"), "{said}");
    }
}
