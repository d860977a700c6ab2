//! 4b: the leader is cut off together with a client, and another one takes over.

mod judge;
mod parts;

use async_trait::async_trait;
use futures_util::future::join3;

use self::parts::split;
use super::aftermath::{ACKNOWLEDGED, ERRORS_TOLD, OF_THEM_LOST, OWNERS, RUNS_TOLD, WRONG_IN_THE_END};
use super::group::{Client, Group};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::{Drawing, Lane, Picture};
use crate::record::{Record, Records};

const ETCD: &str = "etcd 3 nodes";
const OURS: &str = "redis";
const WAITING: &str = "redis, WAIT 1";
const CAUTIOUS: &str = "redis, min-replicas-to-write 1";
const NAIVE: &str = "redis-naive hash";

/// How long both the leader that is cut off and its successor acknowledged registrations.
const BOTH: &str = "both_s";
/// How long after the beginning of the partition the leader that is cut off acknowledged the last one.
const REFUSED_AFTER: &str = "last_ack_s";
/// How long the partition lasted.
const PARTITION: &str = "partition_s";
/// How many registrations the client beside the leader that is cut off was acknowledged during the partition, and how many of these are lost.
const MEANWHILE: &str = "acknowledged_meanwhile";
const LOST_MEANWHILE: &str = "lost_meanwhile";
/// When the client that is cut off was acknowledged what was kept, in seconds from the beginning of the partition; each with a 1.
const KEPT: &str = "kept_at";
/// The same of what was lost.
const LOST_AT: &str = "lost_at";

/// How long a partition takes, with all around it, and the start of the servers.
const RUN_SECONDS: f64 = 13.0;
const START_SECONDS: f64 = 8.0;

/// The experiment.
#[derive(Debug)]
pub(super) struct TwoPrimaries;

static ABOUT: About = About {
    id: "4b",
    title: "Two primaries",
    question: "When the leader is cut off together with a client, and another one takes over, for how long do both acknowledge registrations, and which of them are lost?",
    hypothesis: "A Redis primary that is cut off goes on acknowledging until the partition ends, and all of that is lost; an etcd leader that is cut off acknowledges nothing.",
    set_up: "The leader of etcd with 3 members, and the primary of Redis with 2 replicas and 3 Sentinels, is cut off from all other servers for 6 s or more, by proxies that swallow what is sent. A \
             client beside it reaches it, but no other server and no Sentinel; a second client registers with whoever leads on the other side. Both register 100 instances a second (50 where each \
             waits for a replica). Then all is healed, and what was acknowledged is looked for.",
    rule: "The drawback is shown by an acknowledged registration that is not there after healing, in any run of a contestant in its usual set-up; WAIT and min-replicas-to-write are told besides. Nothing is decided if a run of a usual set-up broke off.",
    falsifier: "Nothing lost by Redis in any run, or something lost by etcd.",
    remedy: "With WAIT, registry-redis acknowledges nothing that no replica has, so that the side that is cut off stops. Without it, watches that have missed something tell a Reset with its cause once they reach the new primary, and \
             owners learn from their next heartbeat that they are not listed, and register again. A client that still reaches the Sentinels leaves the old primary within seconds.",
    caveat: "min-replicas-to-write bounds how long the old primary goes on (max-lag is 2 s here, its default is 10 s); it is off by default. Sentinel and etcd take a leader for dead sooner here than by default, as in \
             4a, which shortens the time until another one leads. For a registry, a side that goes on serving what it knows can be what is wanted: availability is what Redis gives for it.",
    left_out: "The registry in memory, since one process cannot be divided, the naive registry with a key for each instance, whose writes are lost as those of the hash are, and Redis Cluster, whose primaries are documented to \
               stop by themselves after the node timeout once they reach no majority.",
    harmless: false,
};

#[async_trait]
impl Experiment for TwoPrimaries {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        vec![Step::new("all", START_SECONDS + RUN_SECONDS * f64::from(runs(lab)))]
    }

    async fn run(&self, lab: &Lab, _step: &Step) -> Result<(), Trouble> {
        let usual = [(OURS, Client::Ours), (WAITING, Client::OursWaiting), (NAIVE, Client::Naive)];
        let outcomes = join3(
            splits(lab, Group::etcd(lab), &[(ETCD, Client::Ours)]),
            splits(lab, Group::sentinel(lab), &usual),
            splits(lab, Group::cautious_sentinel(lab), &[(CAUTIOUS, Client::Ours)]),
        );
        let (etcd, usual, cautious) = outcomes.await;
        etcd.and(usual).and(cautious)
    }

    fn judge(&self, records: &Records) -> Finding {
        judge::judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("both acknowledge, median", BOTH, OfRuns::Median, Unit::Seconds),
                Column::new(
                    "the old one acknowledges until, at the latest",
                    REFUSED_AFTER,
                    OfRuns::Max,
                    Unit::Seconds,
                ),
                Column::new("the partition lasted, median", PARTITION, OfRuns::Median, Unit::Seconds),
                Column::new("acknowledged on both sides", ACKNOWLEDGED, OfRuns::Sum, Unit::Count),
                OF_THEM_LOST,
                RUNS_TOLD,
                ERRORS_TOLD,
                WRONG_IN_THE_END,
                OWNERS,
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let lane = |arm: &str| {
            let record = records.of(arm).next()?;
            let times = |name: &str| {
                record
                    .series
                    .get(name)
                    .map(|pairs| pairs.iter().map(|[at, _]| *at).collect())
                    .unwrap_or_default()
            };
            Some(Lane { name: arm.to_owned(), kept: times(KEPT), lost: times(LOST_AT) })
        };
        let lanes: Vec<Lane> = records.arms().into_iter().filter_map(lane).collect();
        if lanes.is_empty() {
            return Vec::new();
        }
        let title = "What the side that was cut off acknowledged until the partition ended, and what of it was lost, in the first run; the other side is not shown";
        let x = "seconds since the leader was cut off".to_owned();
        let lasted = records.arms().into_iter().filter_map(|arm| records.of(arm).next()?.figure(PARTITION));
        let fault = [0.0, lasted.fold(0.0, f64::max)];
        vec![Picture { title: title.to_owned(), drawing: Drawing::Timeline { x, fault, lanes } }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 5)
}

async fn splits(
    lab: &Lab,
    group: impl Future<Output = Result<Group, Trouble>>,
    clients: &[(&str, Client)],
) -> Result<(), Trouble> {
    let group = group.await?;
    for run in 0..runs(lab) {
        split(&group, clients, run).await?.into_iter().for_each(|record: Record| lab.keep(record));
    }
    Ok(())
}
