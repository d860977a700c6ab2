//! 4a: the server that leads is killed, or stands still, while registrations go on.

mod fault;

use async_trait::async_trait;
use futures_util::future::join3;

use self::fault::{Fault, strike};
use super::aftermath::{ACKNOWLEDGED, LOST, OWNERS_TOLD, TOLD, TROUBLES, WRONG};
use super::group::{Client, Group, Strike};
use super::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::{Outcome, Record, Records};
use crate::report::format::{count, seconds};

const ETCD: &str = "etcd 3 nodes";
const SENTINEL: &str = "redis, Sentinel";
const WAITING: &str = "redis, Sentinel, WAIT 1";
const CLUSTER: &str = "redis, Cluster";
const NAIVE: &str = "redis-naive hash, Sentinel";
const OURS: [&str; 3] = [SENTINEL, WAITING, CLUSTER];

/// The longest time without an acknowledged registration, from the beginning of the fault on.
const WRITE_GAP: &str = "write_gap_s";
/// Whether registrations went on within the time that was given: 0 or 1.
const RECOVERED: &str = "recovered";

/// An arm with fewer runs that count decides nothing.
const LEAST_RUNS: usize = 2;
/// Faults of each arm in one step.
const RUNS: u32 = 4;
/// Of these, those with the link cut as well, of a quick step; otherwise all.
const CUT_QUICK: u32 = 2;
/// How long such a fault takes, and the start of the servers.
const FAULT_SECONDS: f64 = 5.5;
const START_SECONDS: f64 = 8.0;

/// Contestants in memory are left out: one process has nobody who could take over. `redis-naive key` writes in the same way as the hash, and is not
/// told apart from it by a fail-over.
#[derive(Debug)]
pub(super) struct KilledLeader;

static ABOUT: About = About {
    id: "4a",
    title: "The leader dies",
    question: "When the server that takes the writes is killed or stands still, how long can nobody register, and is anything lost that was acknowledged?",
    hypothesis: "Redis replicates after it has acknowledged, so what the replicas did not get in time is lost; etcd acknowledges what a majority has.",
    set_up: "etcd with 3 members; Redis with 2 replicas and 3 Sentinels; Redis Cluster with 3 primaries and a replica each. 100 instances a second register (50 where each waits for a replica, which registry-redis lets them do one after the other), each under an id of its own, \
             sent by a schedule that waits for no answer. The leader is killed (SIGKILL) or stands still (SIGSTOP), in turn. In the arms with the link cut, it is cut off from its \
             replicas first and goes on taking writes for more than half a second, as when a switch dies before the host does. Then all is healed, and what was acknowledged is looked for.",
    rule: "The drawback is shown by an acknowledged registration that is not there once all servers are well again, in any run of any arm of a contestant.",
    falsifier: "Nothing lost on Redis in any run with the link cut, or something lost on etcd.",
    remedy: "registry-redis can wait for replicas (WAIT), which loses less. What is lost in spite of it is not lost silently: every watch compares epoch, revision and nonce with those of \
             the server that it finds, and tells a Reset with its cause; the owners learn it from their next heartbeat and register again.",
    caveat: "The time without writes is mostly a matter of settings: Sentinel waits 1 s here before it takes a primary for dead (its own default is 30 s), Redis Cluster 2 s \
             (default 15 s), etcd 0.5 s (default 1 s). All servers run on one machine, where a link that is not cut hardly ever lags, so without the cut the loss of a whole host is not shown.",
    left_out: "",
    harmless: false,
};

#[async_trait]
impl Experiment for KilledLeader {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = START_SECONDS + FAULT_SECONDS * f64::from(RUNS + lab.by_scale(CUT_QUICK, RUNS));
        (0..lab.by_scale(1, 5)).map(|part| Step::new(format!("part {part}"), seconds)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let part: u32 = step.name.rsplit(' ').next().and_then(|part| part.parse().ok()).unwrap_or_default();
        let ours = [(SENTINEL, Client::Ours), (WAITING, Client::OursWaiting), (NAIVE, Client::Naive)];
        let outcomes = join3(
            strikes(lab, part, Group::etcd(lab), &[(ETCD, Client::Ours)]),
            strikes(lab, part, Group::sentinel(lab), &ours),
            strikes(lab, part, Group::cluster(lab), &[(CLUSTER, Client::Ours)]),
        );
        let (etcd, sentinel, cluster) = outcomes.await;
        etcd.and(sentinel).and(cluster)
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &[
            Column {
                title: "no writes, median",
                figure: WRITE_GAP,
                of_runs: OfRuns::Median,
                unit: Unit::Seconds,
            },
            Column {
                title: "no writes, longest",
                figure: WRITE_GAP,
                of_runs: OfRuns::Max,
                unit: Unit::Seconds,
            },
            Column { title: "acknowledged", figure: ACKNOWLEDGED, of_runs: OfRuns::Sum, unit: Unit::Count },
            Column { title: "of them lost", figure: LOST, of_runs: OfRuns::Sum, unit: Unit::Count },
            Column {
                title: "runs in which the watcher was told of a gap",
                figure: TOLD,
                of_runs: OfRuns::Sum,
                unit: Unit::Count,
            },
            Column {
                title: "connection errors told to the watcher",
                figure: TROUBLES,
                of_runs: OfRuns::Sum,
                unit: Unit::Count,
            },
            Column {
                title: "the watcher has wrong in the end",
                figure: WRONG,
                of_runs: OfRuns::Max,
                unit: Unit::Count,
            },
            Column {
                title: "owners of the lost told by a heartbeat",
                figure: OWNERS_TOLD,
                of_runs: OfRuns::Min,
                unit: Unit::Share,
            },
        ]
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let (gap, lost) = (records.median(arm, WRITE_GAP)?, records.sum(arm, LOST)?);
            let label = format!("{}, {} lost", seconds(gap), count(lost));
            Some(Bar { name: arm.to_owned(), length: gap, label, bad: lost > 0.0 })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title = "How long nobody can register after the leader is struck down, and how many acknowledged registrations all runs lost together";
        let x = "median time without an acknowledged registration, s".to_owned();
        vec![Picture { title: title.to_owned(), drawing: Drawing::Bars { x, bars } }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let etcd = records.median(ETCD, WRITE_GAP)?;
        let redis = records.median(SENTINEL, WRITE_GAP)?;
        (redis < etcd).then(|| {
            format!(
                "After the leader died, nobody could register for {} with {ETCD}, and for {} with {SENTINEL} (medians).",
                seconds(etcd),
                seconds(redis)
            )
        })
    }
}

/// The name of an arm in which the link to the replicas is cut first.
fn cut(arm: &str) -> String {
    format!("{arm}, link cut")
}

/// Strikes the leader of a group, in turn with and without the link cut. What fails is kept as that.
async fn strikes(
    lab: &Lab,
    part: u32,
    group: impl Future<Output = Result<Group, Trouble>>,
    clients: &[(&str, Client)],
) -> Result<(), Trouble> {
    let group = group.await?;
    let mut random = lab.random(&format!("4a {part} {}", clients[0].0));
    for index in 0..RUNS {
        for cut in [false, true].into_iter().filter(|cut| !cut || index < lab.by_scale(CUT_QUICK, RUNS)) {
            let run = part * RUNS + index;
            let strike_by = if index % 2 == 0 { Strike::Kill } else { Strike::Pause };
            let fault = Fault { strike: strike_by, cut, later: random.usize(0..30) };
            strike(&group, clients, fault, run).await.map_or_else(
                |trouble| {
                    let arm = if cut { self::cut(clients[0].0) } else { clients[0].0.to_owned() };
                    let outcome = Outcome::Failed { why: trouble.to_string() };
                    lab.keep(Record { outcome, ..Record::new(arm, run) });
                    Err(trouble)
                },
                |records| {
                    records.into_iter().for_each(|record| lab.keep(record));
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

fn judge(records: &Records) -> Finding {
    let with_cut = |arm: &str| [arm.to_owned(), cut(arm)];
    let counts = |arm: &str| with_cut(arm).iter().all(|arm| records.count(arm) >= LEAST_RUNS);
    let lost = |arm: &str| -> f64 { with_cut(arm).iter().filter_map(|arm| records.sum(arm, LOST)).sum() };
    let acknowledged =
        |arm: &str| -> f64 { with_cut(arm).iter().filter_map(|arm| records.sum(arm, ACKNOWLEDGED)).sum() };
    let shown = |arm: &str| counts(arm).then(|| lost(arm) > 0.0);
    let ours = OURS.map(shown);
    let ours =
        if ours.contains(&Some(true)) { Some(true) } else { ours.into_iter().try_fold(false, |_, one| one) };
    let verdict = Shown { naive: shown(NAIVE), ours, etcd: shown(ETCD) }.verdict();
    if !(counts(ETCD) && counts(SENTINEL)) {
        return Finding::undecided(format!("fewer than {LEAST_RUNS} runs of {ETCD} or {SENTINEL} count"));
    }
    let gap = |arm: &str| or_dash(records.median(arm, WRITE_GAP), seconds);
    let told = [SENTINEL, CLUSTER].map(cut);
    let told = told.iter().flat_map(|arm| records.of(arm)).filter(|record| record.figure(LOST) > Some(0.0));
    let (runs, told) = told.fold((0.0, 0.0), |(runs, told), record| {
        (runs + 1.0, told + record.figure(TOLD).unwrap_or_default())
    });
    Finding {
        verdict,
        figure: format!(
            "{} of {} acknowledged lost by Redis under Sentinel, {} of {} by etcd",
            count(lost(SENTINEL)),
            count(acknowledged(SENTINEL)),
            count(lost(ETCD)),
            count(acknowledged(ETCD))
        ),
        sentences: [
            format!(
                "When the leader died, Redis under Sentinel lost {} acknowledged registrations while its link to the replicas was cut and {} while it was not; waiting for one replica \
                 it lost {}, Redis Cluster {}, the hash that people write {}, etcd {}.",
                or_dash(records.sum(&cut(SENTINEL), LOST), count),
                or_dash(records.sum(SENTINEL, LOST), count),
                count(lost(WAITING)),
                count(lost(CLUSTER)),
                count(lost(NAIVE)),
                count(lost(ETCD))
            ),
            format!(
                "Nobody could register for {} with etcd, {} with Redis under Sentinel, {} with Redis Cluster (medians); of {} runs in which registry-redis lost something without WAIT, its \
                 watchers were told in {}.",
                gap(ETCD),
                gap(SENTINEL),
                gap(CLUSTER),
                count(runs),
                count(told)
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{CLUSTER, ETCD, LEAST_RUNS, LOST, NAIVE, SENTINEL, WAITING, cut, judge};
    use crate::finding::Verdict;
    use crate::record::{Record, Records};

    const ALL: [&str; 5] = [ETCD, SENTINEL, WAITING, CLUSTER, NAIVE];

    fn records(runs: usize, lost: impl Fn(&str) -> f64) -> Records {
        let arms = ALL.into_iter().flat_map(|arm| [arm.to_owned(), cut(arm)]);
        let run =
            |arm: String, run| Record::new(arm.clone(), run).with(LOST, lost(&arm)).with("acknowledged", 9.0);
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
        assert!(finding.figure.contains("2 of 36"), "{}", finding.figure);
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
}
