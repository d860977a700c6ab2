//! What restarts say. Pure.

use super::{KEPT, MISSED, OF, POLICIES, TOLD, TTL_ERROR, arms, etcd_arms, refs};
use crate::claims::persistence::subjects::{Policy, Way};
use crate::claims::persistence::words::{count, largest, middle, seconds, sum};
use crate::finding::{Finding, Shown};
use crate::record::Records;

/// How many instances were lost by some arms; none if one of them has no run that counts.
fn lost(records: &Records, arms: &[String]) -> Option<f64> {
    Some(sum(records, &refs(arms), OF)? - sum(records, &refs(arms), KEPT)?)
}

fn missed(records: &Records, arms: &[String]) -> Option<f64> {
    sum(records, &refs(arms), MISSED)
}

pub(super) fn judge(records: &Records) -> Finding {
    let naive = arms(&[Way::NaiveHash, Way::NaiveKey], &[Policy::Snapshots, Policy::EverySecond]);
    let (ours, ours_at_any) = (arms(&[Way::Ours], &[Policy::EverySecond]), arms(&[Way::Ours], &POLICIES));
    let etcd = etcd_arms();
    let of = |lost_of: &[String], missed_of: &[String]| {
        Some((lost(records, lost_of)?, missed(records, missed_of)?))
    };
    let (Some(naive_is), Some(ours_is), Some(etcd_is)) =
        (of(&naive, &naive), of(&ours, &ours_at_any), of(&etcd, &etcd))
    else {
        return Finding::undecided("not every registry was restarted in every way");
    };
    let is_shown = |(lost, missed): (f64, f64)| lost > 0.0 || missed > 0.0;
    let shown = Shown {
        naive: Some(is_shown(naive_is)),
        ours: Some(is_shown(ours_is)),
        etcd: Some(is_shown(etcd_is)),
    };
    let all = |arms: &[String]| count(sum(records, &refs(arms), OF).unwrap_or_default());
    let figure = format!(
        "lost: naive {} of {}, ours with AOF {} of {}, etcd {} of {}; wrong and not told: {}, {}, {}",
        count(naive_is.0),
        all(&naive),
        count(ours_is.0),
        all(&ours),
        count(etcd_is.0),
        all(&etcd),
        count(naive_is.1),
        count(ours_is.1),
        count(etcd_is.1),
    );
    let first = format!(
        "After a restart on persisted data the naive registries on Redis had lost {} of {} instances, and their watchers were wrong about {} without a word; our backend with an append-only file had lost {} \
         of {}, etcd {} of {}.",
        count(naive_is.0),
        all(&naive),
        count(naive_is.1),
        count(ours_is.0),
        all(&ours),
        count(etcd_is.0),
        all(&etcd),
    );
    let nothing = arms(&[Way::Ours], &[Policy::Nothing]);
    let told = largest(records, &refs(&nothing), TOLD).unwrap_or_default() > 0.0;
    let second = format!(
        "Without persistence Redis kept {} of {}, and watchers of our backend were {}; by the clock, leases had {} more left on etcd, {} with our backend on an append-only file, and {} as plain keys.",
        count(sum(records, &refs(&nothing), KEPT).unwrap_or_default()),
        all(&nothing),
        if told { "told so" } else { "told nothing" },
        more(records, &etcd),
        more(records, &ours),
        more(records, &arms(&[Way::NaiveKey], &[Policy::EverySecond])),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

fn more(records: &Records, arms: &[String]) -> String {
    middle(records, &refs(arms), TTL_ERROR).map_or("an unknown time".to_owned(), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn records(of: &[(&str, f64, f64)]) -> Records {
        let all = arms(&Way::ALL, &POLICIES).into_iter().chain(etcd_arms());
        let record = |arm: String| {
            let (_, kept, missed) =
                of.iter().find(|(name, ..)| *name == arm).copied().unwrap_or(("", 20.0, 0.0));
            Record::new(arm, 0).with(OF, 20.0).with(KEPT, kept).with(MISSED, missed)
        };
        all.map(record).collect()
    }

    fn verdict(of: &[(&str, f64, f64)]) -> Verdict {
        judge(&records(of)).verdict
    }

    #[test]
    fn one_instance_that_is_not_kept_is_enough() {
        assert_eq!(verdict(&[]), Verdict::Refuted);
        assert_eq!(verdict(&[("redis-naive key, AOF everysec, stopped", 19.0, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis, AOF everysec, killed", 19.0, 0.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[("etcd 1 node, killed", 19.0, 0.0)]), Verdict::Refuted);
    }

    #[test]
    fn one_change_missed_without_a_word_is_enough() {
        assert_eq!(verdict(&[("redis-naive hash, RDB default, killed", 20.0, 1.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis, no persistence, killed", 20.0, 1.0)]), Verdict::Confirmed);
    }

    #[test]
    fn what_is_configured_to_keep_nothing_may_keep_nothing() {
        assert_eq!(verdict(&[("redis, no persistence, stopped", 0.0, 0.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[("redis, RDB default, killed", 0.0, 0.0)]), Verdict::Refuted);
    }

    #[test]
    fn an_arm_without_a_run_that_counts_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let spoil = |record: &Record| match record.arm.as_str() {
            "etcd 1 node, killed" => record.clone().invalid("it did not end"),
            _ => record.clone(),
        };
        let spoilt: Records = records(&[]).all().map(spoil).collect();
        assert_eq!(judge(&spoilt).verdict, Verdict::Undecided);
    }
}
