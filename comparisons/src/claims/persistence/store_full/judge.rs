//! What times of trouble say. Pure.

use super::trouble::OfRedis;
use super::{ETCD, LOST, NEWCOMERS, RELISTED, arms};
use crate::claims::persistence::subjects::Way;
use crate::claims::persistence::words::{count, largest, middle, seconds, sum};
use crate::finding::{Finding, Shown};
use crate::record::Records;

/// The troubles in which a store refuses. An evicting policy throws out by design, and is compared without deciding.
const REFUSALS: [OfRedis; 3] = [OfRedis::Full, OfRedis::FailedSave, OfRedis::NoReplicas];

pub(super) fn judge(records: &Records) -> Finding {
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
    let number = |arms: &[String], figure| count(of(arms, figure).unwrap_or_default());
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
    let share = |arms: &[String]| middle(records, &refs(arms), NEWCOMERS).unwrap_or_default() * 100.0;
    let longest = largest(records, &refs(&ours), RELISTED);
    let second = format!(
        "Of the newcomers meanwhile, our backend let in {:.0} % and etcd {:.0} %{}; a Redis that evicts lost {} of {} living instances used naively, and {} of {} with our backend.",
        share(&ours),
        share(&etcd),
        longest.map_or(String::new(), |after| format!(
            ", all living instances of our backend were listed {} after the end",
            seconds(after)
        )),
        evicted(&[Way::NaiveHash, Way::NaiveKey], LOST),
        evicted(&[Way::NaiveHash, Way::NaiveKey], "of"),
        evicted(&[Way::Ours], LOST),
        evicted(&[Way::Ours], "of"),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

fn refs(arms: &[String]) -> Vec<&str> {
    arms.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::persistence::store_full::{LIVING, MEMORY};
    use crate::finding::Verdict;
    use crate::record::Record;

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
}
