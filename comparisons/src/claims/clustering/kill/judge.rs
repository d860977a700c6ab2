//! What leaders that die say. Pure.

use super::{CLUSTER, ETCD, NAIVE, OURS, RECOVERED, SENTINEL, WAITING, WRITE_GAP, cut};
use crate::claims::clustering::aftermath::{ACKNOWLEDGED, LOST, TOLD, TROUBLES};
use crate::claims::clustering::group::{DOWN_AFTER, ELECTION, NODE_TIMEOUT};
use crate::claims::clustering::words::{broken_off, or_dash};
use crate::finding::{Finding, Shown};
use crate::record::{Record, Records};
use crate::report::format::{count, runs, seconds};

/// An arm with fewer runs that count decides nothing.
const LEAST_RUNS: usize = 2;

/// It speaks against etcd if nobody could register for so many times as long.
const LONGER: f64 = 1.5;

fn with_cut(arm: &str) -> [String; 2] {
    [arm.to_owned(), cut(arm)]
}

pub(super) fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records, |_| false) {
        return Finding::undecided(why);
    }
    let counts = |arm: &str| with_cut(arm).iter().all(|arm| records.count(arm) >= LEAST_RUNS);
    let shown = |arm: &str| {
        let lost = with_cut(arm).iter().map(|arm| records.sum(arm, LOST)).sum::<Option<f64>>();
        lost.filter(|_| counts(arm)).map(|lost| lost > 0.0)
    };
    let ours = OURS.map(shown);
    let ours =
        if ours.contains(&Some(true)) { Some(true) } else { ours.into_iter().try_fold(false, |_, one| one) };
    let verdict = Shown { naive: shown(NAIVE), ours, etcd: shown(ETCD) }.verdict();
    if !(counts(ETCD) && counts(SENTINEL)) {
        return Finding::undecided(format!("fewer than {LEAST_RUNS} runs of {ETCD} or {SENTINEL} count"));
    }
    let lost = |arm: &str| or_dash(records.sum(arm, LOST), count);
    let lost_of = |arm: &str| format!("{} of {}", lost(arm), or_dash(records.sum(arm, ACKNOWLEDGED), count));
    let figure = format!(
        "link to the replicas cut first: {} acknowledged lost by Redis under Sentinel, not cut: {}; etcd {} and {}",
        lost_of(&cut(SENTINEL)),
        lost_of(SENTINEL),
        lost(&cut(ETCD)),
        lost(ETCD)
    );
    let first = format!(
        "When the leader died after its link to the replicas was cut, Redis under Sentinel lost {} acknowledged registrations in {}, waiting for one replica {}, Redis Cluster {}, the hash that people write {}, and etcd \
         {}; with the link not cut it was {}, {}, {}, {}, and {}.",
        lost_of(&cut(SENTINEL)),
        runs(records.count(&cut(SENTINEL))),
        lost_of(&cut(WAITING)),
        lost_of(&cut(CLUSTER)),
        lost_of(&cut(NAIVE)),
        lost_of(&cut(ETCD)),
        lost_of(SENTINEL),
        lost_of(WAITING),
        lost_of(CLUSTER),
        lost_of(NAIVE),
        lost_of(ETCD)
    );
    Finding { verdict, figure, sentences: [first, afterwards(records)] }
}

/// How long nobody could write, and who knew what was lost.
fn afterwards(records: &Records) -> String {
    let arms: Vec<String> = OURS.iter().flat_map(|arm| with_cut(arm)).collect();
    let losing = || arms.iter().flat_map(|arm| records.of(arm)).filter(|run| run.figure(LOST) > Some(0.0));
    let told = losing().filter(|run| run.figure(TOLD) > Some(0.0)).count();
    let troubles = losing().map(|run| run.figure(TROUBLES)).sum::<Option<f64>>();
    format!(
        "Nobody could register for {} with etcd (election timeout {}), {} with Redis under Sentinel (down-after {}), {} with Redis Cluster (node timeout {}), by medians, which these settings bound from below; with the link cut it was {}, {} and {}; of {} in \
         which registry-redis lost something, its watchers were told of a gap in {} (and of {} connection errors).",
        gap(records, ETCD),
        seconds(ELECTION.as_secs_f64()),
        gap(records, SENTINEL),
        seconds(DOWN_AFTER.as_secs_f64()),
        gap(records, CLUSTER),
        seconds(NODE_TIMEOUT.as_secs_f64()),
        gap(records, &cut(ETCD)),
        gap(records, &cut(SENTINEL)),
        gap(records, &cut(CLUSTER)),
        runs(losing().count()),
        count(told as f64),
        or_dash(troubles, count)
    )
}

/// Where registrations did not go on, the time counts as long as it was waited for.
fn gap(records: &Records, arm: &str) -> String {
    let all: Vec<&Record> = records.of(arm).collect();
    let never = all.iter().filter(|run| run.figure(RECOVERED) == Some(0.0)).count();
    match records.median(arm, WRITE_GAP) {
        None => "an unknown time".to_owned(),
        Some(_) if never * 2 >= all.len() => format!("good in {never} of {}", runs(all.len())),
        Some(gap) if never > 0 => format!("at least {}", seconds(gap)),
        Some(gap) => seconds(gap),
    }
}

/// With the link whole or cut, whichever is worse for etcd.
pub(super) fn against_etcd(records: &Records) -> Option<String> {
    let times = |(etcd, redis): &(String, String)| {
        let (etcd, redis) = (records.median(etcd, WRITE_GAP)?, records.median(redis, WRITE_GAP)?);
        Some(etcd / redis).filter(|times| *times > LONGER)
    };
    let both = [(ETCD.to_owned(), SENTINEL.to_owned()), (cut(ETCD), cut(SENTINEL))];
    let worse = both.into_iter().filter_map(|pair| Some((times(&pair)?, pair)));
    let (_, (etcd, redis)) = worse.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let lost = |arm: &str| or_dash(records.sum(arm, LOST), count);
    Some(format!(
        "After the leader died, nobody could register for {} with {etcd}, and for {} with {redis} (medians), which lost {} acknowledged registrations in these runs where etcd lost {}.",
        gap(records, &etcd),
        gap(records, &redis),
        lost(&redis),
        lost(&etcd)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Outcome;

    const ALL: [&str; 5] = [ETCD, SENTINEL, WAITING, CLUSTER, NAIVE];

    fn records(runs: usize, lost: impl Fn(&str) -> f64) -> Records {
        let arms = ALL.into_iter().flat_map(with_cut);
        let run = |arm: String, run| {
            let told = f64::from(u8::from(lost(&arm) > 0.0));
            let record = Record::new(arm.clone(), run).with(LOST, lost(&arm)).with(ACKNOWLEDGED, 9.0);
            record.with(TOLD, told).with(TROUBLES, 1.0)
        };
        let runs = u32::try_from(runs).unwrap();
        arms.flat_map(|arm| (0..runs).map(move |at| (arm.clone(), at)))
            .map(|(arm, at)| run(arm, at))
            .collect()
    }

    #[test]
    fn one_lost_registration_of_ours_confirms_it_where_etcd_lost_none() {
        let one = |arm: &str| if arm == cut(SENTINEL) { 1.0 } else { 0.0 };
        let finding = judge(&records(LEAST_RUNS, one));
        assert_eq!(finding.verdict, Verdict::Confirmed);
        assert!(finding.figure.contains("2 of 18 acknowledged lost"), "{}", finding.figure);
        assert!(finding.figure.contains("not cut: 0 of 18; etcd 0 and 0"), "{}", finding.figure);
    }

    #[test]
    fn runs_that_lost_something_with_the_link_whole_count_among_those_of_which_watchers_are_told() {
        let one = |arm: &str| if arm == SENTINEL || arm == cut(CLUSTER) { 1.0 } else { 0.0 };
        let [_, second] = judge(&records(LEAST_RUNS, one)).sentences;
        assert!(second.contains("of 4 runs in"), "{second}");
        assert!(second.contains("told of a gap in 4 (and of 4 connection errors)"), "{second}");
    }

    #[test]
    fn nothing_lost_refutes_it_and_so_does_a_loss_of_etcd() {
        assert_eq!(judge(&records(LEAST_RUNS, |_| 0.0)).verdict, Verdict::Refuted);
        assert_eq!(judge(&records(LEAST_RUNS, |_| 1.0)).verdict, Verdict::Refuted);
    }

    #[test]
    fn what_only_the_naive_one_loses_depends() {
        let naive = |arm: &str| if arm == NAIVE { 1.0 } else { 0.0 };
        assert_eq!(judge(&records(LEAST_RUNS, naive)).verdict, Verdict::Depends);
    }

    #[test]
    fn too_few_runs_or_runs_that_do_not_count_decide_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        assert_eq!(judge(&records(LEAST_RUNS - 1, |_| 1.0)).verdict, Verdict::Undecided);
        let all = records(LEAST_RUNS, |_| 1.0);
        let invalid: Records = all.all().cloned().map(|record| record.invalid("it did not bite")).collect();
        assert_eq!(judge(&invalid).verdict, Verdict::Undecided);
    }

    #[test]
    fn a_run_that_broke_off_decides_nothing() {
        let outcome = Outcome::Failed { why: "refused".to_owned() };
        for arm in [CLUSTER, "part 1"] {
            let failed = Record { outcome: outcome.clone(), ..Record::new(arm, 7) };
            let all: Records = records(LEAST_RUNS, |_| 0.0).all().cloned().chain([failed]).collect();
            assert_eq!(judge(&all).verdict, Verdict::Undecided, "{arm}");
        }
    }

    #[test]
    fn only_a_longer_time_without_writes_speaks_against_etcd_and_redis_losses_are_named_with_it() {
        let records = |etcd: f64, redis: f64| {
            let record =
                |arm, gap| Record::new(arm, 0).with(WRITE_GAP, gap).with(RECOVERED, 1.0).with(LOST, 3.0);
            Records::from_iter([record(ETCD, etcd), record(SENTINEL, redis)])
        };
        assert_eq!(against_etcd(&records(LONGER, 1.0)), None);
        let said = against_etcd(&records(LONGER + 0.1, 1.0)).unwrap();
        assert!(said.contains("which lost 3 acknowledged"), "{said}");
        let also_cut = |etcd: f64| {
            let run = |arm: &str, gap| Record::new(cut(arm), 0).with(WRITE_GAP, gap).with(RECOVERED, 1.0);
            records(1.0, 1.0).all().cloned().chain([run(ETCD, etcd), run(SENTINEL, 1.0)]).collect::<Records>()
        };
        assert_eq!(against_etcd(&also_cut(LONGER)), None);
        let said = against_etcd(&also_cut(LONGER + 0.1)).unwrap();
        assert!(said.contains("for 1.6 s with etcd 3 nodes, link cut"), "{said}");
    }

    #[test]
    fn a_time_that_did_not_end_is_told_as_that() {
        let run = |run, went_on| Record::new(ETCD, run).with(WRITE_GAP, 2.0).with(RECOVERED, went_on);
        let of = |went_on: [f64; 3]| gap(&(0..3).zip(went_on).map(|(at, on)| run(at, on)).collect(), ETCD);
        assert_eq!(of([1.0, 1.0, 1.0]), "2 s");
        assert_eq!(of([1.0, 0.0, 1.0]), "at least 2 s");
        assert_eq!(of([0.0, 0.0, 1.0]), "good in 2 of 3 runs");
        assert_eq!(gap(&Records::default(), ETCD), "an unknown time");
    }
}
