//! 4b: the leader is cut off together with a client, and another one takes over.

mod parts;

use async_trait::async_trait;
use futures_util::future::join3;

use self::parts::split;
use super::aftermath::{ACKNOWLEDGED, LOST, OWNERS_TOLD, TOLD, TROUBLES, WRONG};
use super::group::{Client, Group};
use super::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Drawing, Lane, Picture};
use crate::record::{Record, Records};
use crate::report::format::{count, seconds};

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
/// When the client that is cut off was acknowledged what was kept, in seconds from the beginning of the partition; each with a 1.
const KEPT: &str = "kept_at";
/// The same of what was lost.
const LOST_AT: &str = "lost_at";

/// How long a partition takes, with all around it, and the start of the servers.
const RUN_SECONDS: f64 = 13.0;
const START_SECONDS: f64 = 8.0;

/// Contestants in memory are left out, since one process cannot be divided, and `redis-naive key`, which writes as the hash does.
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
    rule: "The drawback is shown by an acknowledged registration that is not there after healing, in any run of a contestant in its usual set-up; WAIT and min-replicas-to-write are told besides.",
    falsifier: "Nothing lost by Redis in any run, or something lost by etcd.",
    remedy: "With WAIT, registry-redis acknowledges nothing that no replica has, so that the side that is cut off stops. Without it, watches tell a Reset with its cause once they reach the new primary, and \
             owners learn from their next heartbeat that they are not listed, and register again. A client that still reaches the Sentinels leaves the old primary within seconds.",
    caveat: "min-replicas-to-write bounds how long the old primary goes on (max-lag is 2 s here, its default is 10 s); it is off by default. Sentinel takes a primary for dead after 1 s here (default: 30 s), etcd \
             after 0.5 s (default: 1 s). For a registry, a side that goes on serving what it knows can be what is wanted: availability is what Redis gives for it.",
    left_out: "",
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
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &[
            Column {
                title: "both acknowledge, median",
                figure: BOTH,
                of_runs: OfRuns::Median,
                unit: Unit::Seconds,
            },
            Column {
                title: "the old one acknowledges until",
                figure: REFUSED_AFTER,
                of_runs: OfRuns::Max,
                unit: Unit::Seconds,
            },
            Column {
                title: "acknowledged on both sides",
                figure: ACKNOWLEDGED,
                of_runs: OfRuns::Sum,
                unit: Unit::Count,
            },
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
        let title = "What a client beside the leader that is cut off was acknowledged, and what of it was lost, in the first run";
        let x = "seconds since the leader was cut off".to_owned();
        let lasted = records.arms().into_iter().filter_map(|arm| records.of(arm).next()?.figure(PARTITION));
        let fault = [0.0, lasted.fold(0.0, f64::max)];
        vec![Picture { title: title.to_owned(), drawing: Drawing::Timeline { x, fault, lanes } }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let (etcd, redis) = (records.max(ETCD, REFUSED_AFTER)?, records.max(OURS, REFUSED_AFTER)?);
        (etcd < redis).then(|| {
            format!(
                "Beside a leader that is cut off, nobody can register with etcd: the last registration was acknowledged {} after the cut, where a Redis primary went on for {}.",
                seconds(etcd),
                seconds(redis)
            )
        })
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

fn judge(records: &Records) -> Finding {
    let shown = |arm: &str| records.sum(arm, LOST).map(|lost| lost > 0.0);
    let shown = Shown { naive: shown(NAIVE), ours: shown(OURS), etcd: shown(ETCD) };
    let (Some(_), Some(_)) = (shown.ours, shown.etcd) else {
        return Finding::undecided(format!("no run of {OURS} or of {ETCD} counts"));
    };
    let lost = |arm: &str| or_dash(records.sum(arm, LOST), count);
    let both = |arm: &str| or_dash(records.median(arm, BOTH), seconds);
    let of = |arm: &str| or_dash(records.sum(arm, ACKNOWLEDGED), count);
    Finding {
        verdict: shown.verdict(),
        figure: format!(
            "two primaries for {}, {} of {} lost; etcd {}",
            both(OURS),
            lost(OURS),
            of(OURS),
            lost(ETCD)
        ),
        sentences: [
            format!(
                "While a Redis primary was cut off with a client beside it, it and its successor both acknowledged registrations for {} (median), and {} acknowledged ones were lost after healing; the hash that people \
                 write lost {}, etcd {}.",
                both(OURS),
                lost(OURS),
                lost(NAIVE),
                lost(ETCD)
            ),
            format!(
                "With WAIT for one replica {} were lost, and with min-replicas-to-write, which stopped the old primary after {}, {}.",
                lost(WAITING),
                or_dash(records.max(CAUTIOUS, REFUSED_AFTER), seconds),
                lost(CAUTIOUS)
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{ETCD, LOST, NAIVE, OURS, judge};
    use crate::finding::Verdict;
    use crate::record::{Record, Records};

    fn judged(naive: f64, ours: f64, etcd: f64) -> Verdict {
        let arms = [(NAIVE, naive), (OURS, ours), (ETCD, etcd)];
        judge(&arms.into_iter().map(|(arm, lost)| Record::new(arm, 0).with(LOST, lost)).collect()).verdict
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
        let records =
            [OURS, ETCD, NAIVE].map(|arm| Record::new(arm, 0).with(LOST, 1.0).invalid("it did not bite"));
        assert_eq!(judge(&Records::from_iter(records)).verdict, Verdict::Undecided);
    }
}
