//! What restarts say. Pure.

use super::{
    EXPIRED, End, LOST, MISSED, OF, POLICIES, SHORT_OF, TOLD, TROUBLES, TTL_ERROR, arm, arms, etcd_arms, refs,
};
use crate::claims::clustering::words::{broken_off, in_runs, or_dash};
use crate::claims::persistence::figures::{middle, sum};
use crate::claims::persistence::subjects::{Policy, Way};
use crate::finding::{Finding, Shown};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// A difference of more than this is worth a word, in seconds: etcd tells whole ones.
const NOTICED: f64 = 1.0;

const NAIVE: [Way; 2] = [Way::NaiveHash, Way::NaiveKey];
const PERSISTED: [Policy; 2] = [Policy::Snapshots, Policy::EverySecond];

pub(super) fn judge(records: &Records) -> Finding {
    let idle = arms(&NAIVE, &[Policy::Nothing]);
    if let Some(why) = broken_off(records, |arm| idle.iter().any(|idle| idle == arm)) {
        return Finding::undecided(why);
    }
    let total = |arms: &[String], figure| sum(records, &refs(arms), figure);
    let (naive, ours, ours_with_aof) = (
        arms(&NAIVE, &PERSISTED),
        arms(&[Way::Ours], &PERSISTED),
        arms(&[Way::Ours], &[Policy::EverySecond]),
    );
    let (ours_at_any, etcd) = (arms(&[Way::Ours], &POLICIES), etcd_arms());
    let of =
        |lost_of: &[String], missed_of: &[String]| Some((total(lost_of, LOST)?, total(missed_of, MISSED)?));
    let (Some(naive_is), Some(ours_is), Some(etcd_is), Some(aof_lost)) =
        (of(&naive, &naive), of(&ours, &ours_at_any), of(&etcd, &etcd), total(&ours_with_aof, LOST))
    else {
        return Finding::undecided("not every registry was restarted in every way");
    };
    // What a setting prevents belongs to the setting, whoever loses it; the naive registries and ours are tried at the same ones.
    let shown = Shown {
        naive: Some(naive_is.0 > 0.0 || naive_is.1 > 0.0 || ours_is.0 > 0.0),
        ours: Some(aof_lost > 0.0 || ours_is.1 > 0.0),
        etcd: Some(etcd_is.0 > 0.0 || etcd_is.1 > 0.0),
    };
    let lost_of = |arms: &[String], lost, of| {
        format!("{} of {}", or_dash(total(arms, lost), count), or_dash(total(arms, of), count))
    };
    let at = |ways: &[Way], policy| lost_of(&arms(ways, &[policy]), LOST, OF);
    let [naive_rdb, ours_rdb] = [&NAIVE[..], &[Way::Ours]].map(|ways| at(ways, Policy::Snapshots));
    let [naive_aof, ours_aof] = [&NAIVE[..], &[Way::Ours]].map(|ways| at(ways, Policy::EverySecond));
    let etcd_lost = lost_of(&etcd, LOST, OF);
    let figure = format!(
        "lost with snapshots: naive {naive_rdb}, ours {ours_rdb}; with AOF: naive {naive_aof}, ours {ours_aof}; etcd {etcd_lost}; wrong with no gap told: {}, {}, {}",
        count(naive_is.1),
        count(ours_is.1),
        count(etcd_is.1),
    );
    let killed = [arm(Way::Ours, Some(Policy::Snapshots), End::Killed)];
    let first = format!(
        "After a restart on snapshots the naive registries on Redis had lost {naive_rdb} instances and registry-redis {ours_rdb} (killed {}, which its watchers were told of as a gap in {}), on an append-only file {naive_aof} and \
         {ours_aof}, etcd {etcd_lost}; naive watchers were wrong about {} with no gap told ({} connection errors were), those of registry-redis about {} at any setting, of etcd about {}.",
        lost_of(&killed, LOST, OF),
        in_runs(records, &refs(&killed), TOLD),
        count(naive_is.1),
        or_dash(total(&naive, TROUBLES), count),
        count(ours_is.1),
        count(etcd_is.1),
    );
    let nothing = arms(&[Way::Ours], &[Policy::Nothing]);
    let second = format!(
        "Instances with less time than the outage had expired by the clock in {} cases with an append-only file used naively, {} with registry-redis and {} on etcd, which give time that nobody could use; without persistence Redis \
         lost {} and watchers of registry-redis were told of a gap in {}; leases had {} more left than by the clock on etcd, {} with registry-redis on an append-only file, and {} as plain keys.",
        lost_of(&arms(&NAIVE, &[Policy::EverySecond]), EXPIRED, SHORT_OF),
        lost_of(&ours_with_aof, EXPIRED, SHORT_OF),
        lost_of(&etcd, EXPIRED, SHORT_OF),
        lost_of(&nothing, LOST, OF),
        in_runs(records, &refs(&nothing), TOLD),
        more(records, &etcd),
        more(records, &ours_with_aof),
        more(records, &arms(&[Way::NaiveKey], &[Policy::EverySecond])),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

fn more(records: &Records, arms: &[String]) -> String {
    middle(records, &refs(arms), TTL_ERROR).map_or("an unknown time".to_owned(), seconds)
}

pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let (etcd, ours) = (etcd_arms(), arms(&[Way::Ours], &[Policy::EverySecond]));
    let (error, redis) =
        (middle(records, &refs(&etcd), TTL_ERROR)?, middle(records, &refs(&ours), TTL_ERROR)?);
    (error > redis + NOTICED).then(|| {
        let lost = |arms: &[String]| or_dash(sum(records, &refs(arms), LOST), count);
        format!(
            "After a restart leases on etcd had {} more left than by the clock, since it gives each its full time again, and the dead are listed for so much longer; with our backend on Redis with AOF everysec it was {}, where {} \
             instances were lost and on etcd {}.",
            seconds(error),
            seconds(redis),
            lost(&ours),
            lost(&etcd)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record};

    fn records(of: &[(&str, f64, f64)]) -> Records {
        let all = arms(&Way::ALL, &POLICIES).into_iter().chain(etcd_arms());
        let record = |arm: String| {
            let (_, lost, missed) =
                of.iter().find(|(name, ..)| *name == arm).copied().unwrap_or(("", 0.0, 0.0));
            Record::new(arm, 0).with(OF, 15.0).with(LOST, lost).with(MISSED, missed)
        };
        all.map(record).collect()
    }

    fn verdict(of: &[(&str, f64, f64)]) -> Verdict {
        judge(&records(of)).verdict
    }

    #[test]
    fn one_instance_that_is_not_kept_is_enough() {
        assert_eq!(verdict(&[]), Verdict::Refuted);
        assert_eq!(verdict(&[("redis-naive key, AOF everysec, stopped", 1.0, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis, AOF everysec, killed", 1.0, 0.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[("etcd 1 node, killed", 1.0, 0.0)]), Verdict::Refuted);
    }

    #[test]
    fn one_change_missed_with_no_gap_told_is_enough() {
        assert_eq!(verdict(&[("redis-naive hash, RDB default, killed", 0.0, 1.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis, no persistence, killed", 0.0, 1.0)]), Verdict::Confirmed);
    }

    #[test]
    fn what_is_configured_to_keep_nothing_may_keep_nothing() {
        assert_eq!(verdict(&[("redis, no persistence, stopped", 15.0, 0.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[("redis-naive hash, no persistence, killed", 15.0, 15.0)]), Verdict::Refuted);
    }

    #[test]
    fn what_is_lost_with_snapshots_alone_belongs_to_the_setting_whoever_loses_it() {
        assert_eq!(verdict(&[("redis, RDB default, killed", 15.0, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis-naive key, RDB default, killed", 15.0, 0.0)]), Verdict::Depends);
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
    #[test]
    fn what_expires_by_the_clock_is_no_loss() {
        let expired = |record: &Record| record.clone().with(SHORT_OF, 5.0).with(EXPIRED, 5.0);
        let judged = judge(&records(&[]).all().map(expired).collect());
        assert_eq!(judged.verdict, Verdict::Refuted);
        assert!(judged.sentences[1].contains("in 20 of 20 cases"), "{}", judged.sentences[1]);
    }

    #[test]
    fn an_arm_that_decides_and_broke_off_decides_nothing() {
        let with_failed = |arm: &str| {
            let outcome = Outcome::Failed { why: "refused".to_owned() };
            let failed = Record { outcome, ..Record::new(arm, 1) };
            judge(&records(&[]).all().cloned().chain([failed]).collect()).verdict
        };
        assert_eq!(with_failed("redis, RDB default, killed"), Verdict::Undecided);
        assert_eq!(with_failed("killed"), Verdict::Undecided);
        assert_eq!(with_failed("redis-naive hash, no persistence, killed"), Verdict::Refuted);
    }

    #[test]
    fn only_a_difference_that_is_noticed_speaks_against_etcd() {
        let records = |etcd: f64| {
            let record = |arm: String, error| Record::new(arm, 0).with(TTL_ERROR, error).with(LOST, 0.0);
            let ours = arms(&[Way::Ours], &[Policy::EverySecond]).into_iter().map(|arm| record(arm, 4.0));
            etcd_arms().into_iter().map(|arm| record(arm, etcd)).chain(ours).collect()
        };
        assert_eq!(against_etcd(&records(4.0 + NOTICED)), None);
        let said = against_etcd(&records(4.5 + NOTICED)).unwrap();
        assert!(said.contains("it was 4 s, where 0 instances were lost and on etcd 0"), "{said}");
    }
}
