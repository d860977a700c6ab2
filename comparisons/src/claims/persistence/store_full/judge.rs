//! What times of trouble say. Pure.

use super::trouble::OfRedis;
use super::{ALL_BACK, ETCD, LOST, MEMORY, NEWCOMERS, RELISTED, arms};
use crate::claims::clustering::words::{broken_off, or_dash};
use crate::claims::persistence::figures::{middle, sum, took};
use crate::claims::persistence::subjects::Way;
use crate::finding::{Finding, Shown};
use crate::record::Records;
use crate::report::format::{count, share};

/// The troubles in which a store refuses. An evicting policy throws out by design, and is compared without deciding.
const REFUSALS: [OfRedis; 3] = [OfRedis::Full, OfRedis::FailedSave, OfRedis::NoReplicas];

pub(super) fn judge(records: &Records) -> Finding {
    let idle = arms(&Way::ALL, &[OfRedis::Evicting]);
    if let Some(why) = broken_off(records, |arm| arm == MEMORY || idle.iter().any(|idle| idle == arm)) {
        return Finding::undecided(why);
    }
    let of = |arms: &[String], figure| sum(records, &refs(arms), figure);
    let naive = arms(&[Way::NaiveHash, Way::NaiveKey], &REFUSALS);
    let ours = arms(&[Way::Ours], &REFUSALS);
    let etcd = [ETCD.to_owned()];
    let (Some(naive_lost), Some(ours_lost), Some(etcd_lost)) =
        (of(&naive, LOST), of(&ours, LOST), of(&etcd, LOST))
    else {
        return Finding::undecided("not every registry got into every trouble");
    };
    let shown =
        Shown { naive: Some(naive_lost > 0.0), ours: Some(ours_lost > 0.0), etcd: Some(etcd_lost > 0.0) };
    let number = |arms: &[String], figure| or_dash(of(arms, figure), count);
    let figure = format!(
        "living instances lost: naive {} of {}, ours {} of {}, etcd {} of {}",
        count(naive_lost),
        number(&naive, "of"),
        count(ours_lost),
        number(&ours, "of"),
        count(etcd_lost),
        number(&etcd, "of"),
    );
    let first = format!(
        "While writes were refused, the naive registries on Redis lost {} of {} living instances and our backend {} of {}; a full etcd lost {} of {}.",
        count(naive_lost),
        number(&naive, "of"),
        count(ours_lost),
        number(&ours, "of"),
        count(etcd_lost),
        number(&etcd, "of"),
    );
    let evicted = |ways: &[Way], figure| number(&arms(ways, &[OfRedis::Evicting]), figure);
    let let_in = |arms: &[String]| share(middle(records, &refs(arms), NEWCOMERS).unwrap_or(f64::NAN));
    let second = format!(
        "Of the newcomers meanwhile, our backend let in {} and etcd {} (medians), and after the end all living instances of our backend were listed {}; a Redis that evicts lost {} of {} living instances used naively, and {} of {} with our backend.",
        let_in(&ours),
        let_in(&etcd),
        took(records, &refs(&ours), RELISTED, ALL_BACK),
        evicted(&[Way::NaiveHash, Way::NaiveKey], LOST),
        evicted(&[Way::NaiveHash, Way::NaiveKey], "of"),
        evicted(&[Way::Ours], LOST),
        evicted(&[Way::Ours], "of"),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let full = arms(&[Way::Ours], &[OfRedis::Full]);
    let (etcd, redis) = (records.median(ETCD, NEWCOMERS)?, middle(records, &refs(&full), NEWCOMERS));
    (etcd < 1.0).then(|| {
        let lost = |arms: &[&str]| {
            format!("{} of {}", or_dash(sum(records, arms, LOST), count), or_dash(sum(records, arms, "of"), count))
        };
        format!(
            "A full etcd let in {} of the newcomers until an operator compacted, defragmented and disarmed its alarm, and lost {} living instances meanwhile; a Redis whose memory was full let in {} with our backend, and lost {}.",
            share(etcd),
            lost(&[ETCD]),
            or_dash(redis, share),
            lost(&refs(&full))
        )
    })
}

fn refs(arms: &[String]) -> Vec<&str> {
    arms.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::persistence::store_full::LIVING;
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record};

    fn records(of: &[(&str, f64)]) -> Records {
        let all = arms(&Way::ALL, &OfRedis::ALL).into_iter().chain([ETCD.to_owned(), MEMORY.to_owned()]);
        let record = |arm: String| {
            let lost = of.iter().find(|(name, _)| *name == arm).map_or(0.0, |(_, lost)| *lost);
            Record::new(arm, 0).with(LOST, lost).with("of", f64::from(LIVING))
        };
        all.map(record).collect()
    }

    fn verdict(of: &[(&str, f64)]) -> Verdict {
        judge(&records(of)).verdict
    }

    #[test]
    fn one_living_instance_lost_is_enough() {
        assert_eq!(verdict(&[]), Verdict::Refuted);
        assert_eq!(verdict(&[("redis-naive key, memory full", 1.0)]), Verdict::Depends);
        assert_eq!(verdict(&[("redis, replicas missing", 1.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(ETCD, 1.0), ("redis, memory full", 1.0)]), Verdict::Refuted);
    }

    #[test]
    fn eviction_and_a_registry_in_memory_decide_nothing() {
        assert_eq!(
            verdict(&[("redis, evicting", 20.0), ("redis-naive key, evicting", 20.0)]),
            Verdict::Refuted
        );
        assert_eq!(verdict(&[(MEMORY, 20.0)]), Verdict::Refuted);
    }

    #[test]
    fn a_trouble_that_did_not_bite_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        for arm in ["redis, failed save", "redis-naive hash, memory full", ETCD] {
            let spoil = |record: &Record| match record.arm == arm {
                true => record.clone().invalid("the fault did not bite"),
                false => record.clone(),
            };
            let spoilt: Records = records(&[]).all().map(spoil).collect();
            assert_eq!(judge(&spoilt).verdict, Verdict::Undecided, "{arm}");
        }
    }
    #[test]
    fn an_arm_that_decides_and_broke_off_decides_nothing() {
        let with_failed = |arm: &str| {
            let outcome = Outcome::Failed { why: "refused".to_owned() };
            let failed = Record { outcome, ..Record::new(arm, 1) };
            judge(&records(&[]).all().cloned().chain([failed]).collect()).verdict
        };
        assert_eq!(["redis, memory full", ETCD, "run 0"].map(with_failed), [Verdict::Undecided; 3]);
        assert_eq!(["redis, evicting", MEMORY].map(with_failed), [Verdict::Refuted; 2]);
    }

    #[test]
    fn what_a_full_etcd_refuses_is_told_with_what_a_full_redis_does() {
        let records = |etcd: f64| {
            let let_in = |record: &Record| match record.arm.as_str() {
                ETCD => record.clone().with(NEWCOMERS, etcd),
                _ => record.clone().with(NEWCOMERS, 0.0),
            };
            records(&[]).all().map(let_in).collect::<Records>()
        };
        assert_eq!(against_etcd(&records(1.0)), None);
        let said = against_etcd(&records(0.9)).unwrap();
        assert!(said.contains("memory was full let in 0 % with our backend, and lost 0 of 20"), "{said}");
    }
}
