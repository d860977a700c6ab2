//! 4a: the server that leads is killed, or stands still, while registrations go on.

mod fault;
mod judge;
mod pictures;

use async_trait::async_trait;
use futures_util::future::join3;

use self::fault::{Fault, strike};
use super::aftermath::{ACKNOWLEDGED, ERRORS_TOLD, OF_THEM_LOST, OWNERS, RUNS_TOLD, WRONG_IN_THE_END};
use super::group::{Client, Group, Strike};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::{Outcome, Record, Records};

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

/// Faults of each arm in one step.
const RUNS: u32 = 4;
/// Of these, those with the link cut as well, of a quick step; otherwise all.
const CUT_QUICK: u32 = 2;
/// How long such a fault takes, and the start of the servers.
const FAULT_SECONDS: f64 = 5.5;
const START_SECONDS: f64 = 8.0;

/// The experiment.
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
    rule: "The drawback is shown by an acknowledged registration that is not there once all servers are well again, in any run of any arm of a contestant. Nothing is decided with fewer than 2 runs of an arm, or if \
           one broke off.",
    falsifier: "Nothing lost on Redis in any run with the link cut, or something lost on etcd.",
    remedy: "registry-redis can wait for replicas (WAIT), which bounds what is lost to what the replica that takes over had not confirmed; 4c shows what can be lost in spite of it. A loss is told: every \
             watch compares epoch, revision and nonce with those of the server that it finds, and tells a Reset with its cause; the owners learn it from their next heartbeat and register again.",
    caveat: "The time without writes is bounded from below by settings, which are all shorter here than the defaults (30 s of Sentinel, 15 s of Redis Cluster, 1 s of etcd). It is the time of this project's clients, whose requests \
             wait up to 5 s for a server that stands still: the servers may have been ready before. All \
             servers run on one machine, where a link that is not cut hardly ever lags, so without the cut the loss of a whole host is not shown.",
    left_out: "The registry in memory, since one process has nobody who could take over, and the naive registry with a key for each instance, whose writes a fail-over treats as those of the hash.",
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
        judge::judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new(
                    "no writes, median of kills and pauses",
                    WRITE_GAP,
                    OfRuns::Median,
                    Unit::Seconds,
                ),
                Column::new("no writes, longest", WRITE_GAP, OfRuns::Max, Unit::Seconds),
                Column::new("runs in which registrations went on", RECOVERED, OfRuns::Sum, Unit::Count),
                Column::new("acknowledged", ACKNOWLEDGED, OfRuns::Sum, Unit::Count),
                OF_THEM_LOST,
                RUNS_TOLD,
                ERRORS_TOLD,
                WRONG_IN_THE_END,
                OWNERS,
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        if records.all().all(|record| !record.is_valid()) {
            return Vec::new();
        }
        vec![pictures::gaps(records), pictures::losses(records)]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
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
