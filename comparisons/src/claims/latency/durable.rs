//! 3b: the same, with Redis as durable as it can be made.

use std::time::Duration;

use async_trait::async_trait;
use registry_testing::servers::etcd::EtcdCluster;

use super::arms::{ACK_P50, ACK_TO_RECEIVED_P50, Arms, P50, P99, RATE, plan, seconds};
use super::delay::{Delay, fastest};
use super::pairs::{Compared, Comparison, Pair, says, verdict};
use super::servers::{Replicated, etcd_as_it_comes, on_leader, on_replicated};
use super::shown::{COLUMNS, counted, distributions, forest, millis, ratio};
use crate::contestants::{Announce, Place, RawRedis};
use crate::experiment::{About, Column, Experiment, Step, Trouble};
use crate::finding::{Finding, Verdict};
use crate::lab::Lab;
use crate::measure::BlockPlan;
use crate::picture::Picture;
use crate::record::Records;

/// The experiment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durable;

const RAW_MESSAGE: &str = "redis, raw PUBLISH, WAIT 1";
const RAW_REDIS: &str = "redis, raw stream, WAIT 1";
const REDIS: &str = "redis, WAIT 1";
const RAW_ETCD: &str = "etcd, raw, 3 nodes";
const ETCD: &str = "etcd 3 nodes";
const ETCD_AGAIN: &str = "etcd 3 nodes, again";
const RAW_MESSAGE_FAR: &str = "redis, raw PUBLISH, WAIT 1, 1 ms apart";
const RAW_REDIS_FAR: &str = "redis, raw stream, WAIT 1, 1 ms apart";
const REDIS_FAR: &str = "redis, WAIT 1, 1 ms apart";
const RAW_ETCD_FAR: &str = "etcd, raw, 3 nodes, 1 ms apart";
const ETCD_FAR: &str = "etcd 3 nodes, 1 ms apart";

const ARMS: usize = 11;

const COMPARISON: Comparison = Comparison {
    control: [ETCD_AGAIN, ETCD],
    deciding: &[
        Pair { redis: REDIS, etcd: ETCD },
        Pair { redis: RAW_MESSAGE, etcd: RAW_ETCD },
        Pair { redis: RAW_REDIS, etcd: RAW_ETCD },
        Pair { redis: REDIS_FAR, etcd: ETCD_FAR },
        Pair { redis: RAW_MESSAGE_FAR, etcd: RAW_ETCD_FAR },
        Pair { redis: RAW_REDIS_FAR, etcd: RAW_ETCD_FAR },
    ],
    beside: &[],
};

/// Between the nodes, there and back.
const APART: Duration = Duration::from_millis(1);

/// How long the servers of a step take to start, in seconds.
const START: f64 = 10.0;

/// Steps, rounds of a step, and changes of a block.
fn size(lab: &Lab) -> (u32, u32, BlockPlan) {
    let (steps, rounds, events) = lab.by_scale((2, 5, 100), (6, 4, 200));
    (steps, rounds, plan(events))
}

#[async_trait]
impl Experiment for Durable {
    fn about(&self) -> &'static About {
        &About {
            id: "3b",
            title: "From a change to its watcher, as durable as can be",
            question: "With every change synced to disk and on a second node before it is acknowledged, does it take longer through Redis than through etcd?",
            hypothesis: "What is as durable as etcd's is slower through Redis.",
            set_up: "As in 3a, with the data on a real disk. Redis: a primary and a replica, each with an append-only file that is synced before each \
                     answer, and WAIT 1 with each change. etcd: three nodes, asked by the leader. Whatever is replicated goes through a proxy, on both: once \
                     through one that adds nothing, and once with half a millisecond each way. That it took hold is shown before anything is measured: the fastest of 20 changes \
                     must take longer than before by at least four fifths of the millisecond there and back.",
            rule: "As in 3a: the median latency on Redis is divided by that on etcd in each round, with a 95 % interval of the median ratio. An interval \
                   above 1.1: Redis is slower. Below 0.9: Redis is faster. Not above 1.1: no difference to speak of. Any other: open. Compared are this \
                   project's registries and both ways of the bare commands, near and apart. Redis slower in all of them: confirmed. In some and not in \
                   others: depends. In none: refuted. Undecided if a pair that is open could change that, if fewer than 8 rounds count, if the \
                   interval of an arm that is measured twice does not hold 1, if a step broke off, or if a single change in an arm that decides was not \
                   acknowledged or never seen by the watcher. The 99th percentiles are shown, and decide nothing.",
            falsifier: "No interval above 1.1.",
            remedy: "registry-redis can wait for replicas (`wait=1`), and then says of a change that too few have that it failed; it still stands, and \
                     watchers were told of it. The writes of one client wait one after the other, since WAIT stops its connection; the bare commands are \
                     given 16 connections for that.",
            caveat: "WAIT is not consensus: it tells that a replica has the change, not that whoever is promoted will have it, and a change whose WAIT \
                     failed is not undone. By itself it tells that the replica has the change in memory, not that it is synced there; with an append-only file that \
                     is always synced, the replica syncs before it goes on to answer. The command that promises it is WAITAOF, from Redis 7.2 on, which is \
                     not used here. Nor do Redis's watchers wait for it: they are told once the primary has synced, where etcd's are told what a \
                     majority has synced. All nodes share one disk here, so that the syncs of three etcd nodes stand in each other's way more than those of \
                     two Redis servers.",
            left_out: "`memory`, since nothing of it is durable; `etcd 1 node`, since nothing of it is replicated; and the naive ways, which the bare PUBLISH \
                       stands for: the hash that people write sends the same HSET and PUBLISH, and here each is waited for.",
            harmless: false,
        }
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let (steps, rounds, plan) = size(lab);
        let step = |number| Step::new(format!("rounds {number}"), seconds(ARMS, rounds, &plan, START));
        (1..=steps).map(step).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        if lab.theirs.is_some() {
            return Err(Trouble::NotRun(
                "how durable servers of the reader are is for them to say".to_owned(),
            ));
        }
        let (_, rounds, plan) = size(lab);
        let before = self.steps(lab).iter().take_while(|other| other.name != step.name).count();
        let first = u32::try_from(before).unwrap_or(u32::MAX).saturating_mul(rounds);
        on_own(lab, first, rounds, &plan).await
    }

    fn judge(&self, records: &Records) -> Finding {
        match COMPARISON.compare(records, P50) {
            Ok(compared) => found(&compared, records),
            Err(why) => Finding::undecided(why),
        }
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let arms = [RAW_MESSAGE, RAW_REDIS, REDIS, RAW_ETCD, ETCD, REDIS_FAR, ETCD_FAR];
        let forest = |figure, what| forest(&COMPARISON, records, figure, what);
        let pictures = [
            forest(P50, "median latency"),
            forest(P99, "99th percentile of latency"),
            forest(ACK_P50, "median time to the acknowledgement"),
        ];
        pictures.into_iter().chain([distributions(records, &arms)]).flatten().collect()
    }
}

async fn on_own(lab: &Lab, first: u32, rounds: u32, plan: &BlockPlan) -> Result<(), Trouble> {
    let redis = || lab.redis_options().with_data_in(&lab.disk);
    let etcd = || etcd_as_it_comes(lab).with_data_in(&lab.disk);
    let (pair, pair_apart, three, three_apart) = tokio::try_join!(
        Replicated::start(redis()),
        Replicated::start(redis()),
        // Replicas of Redis are always reached by a proxy, so that etcd's nodes are, too.
        EtcdCluster::start(3, etcd().with_peer_proxies()),
        EtcdCluster::start(3, etcd().with_peer_proxies())
    )?;
    let (ours, raw) = on_leader(&three).await?;
    let (ours_apart, raw_apart) = on_leader(&three_apart).await?;
    let place = Place::Server(pair.primary.address());
    let apart = Place::Server(pair_apart.primary.address());
    let waiting = Some(1);
    let message_apart = RawRedis::connect(&apart, Announce::Message, waiting).await?;
    let stream_apart = RawRedis::connect(&apart, Announce::Stream, waiting).await?;
    let (redis_near, etcd_near) = (fastest(&message_apart).await?, fastest(&raw_apart).await?);
    pair_apart.delay(APART / 2).await;
    three_apart.delay(APART / 2);
    let redis_delay = Delay { wanted: APART, near: redis_near, apart: fastest(&message_apart).await? };
    let etcd_delay = Delay { wanted: APART, near: etcd_near, apart: fastest(&raw_apart).await? };

    let mut arms = Arms::new("latency");
    arms.add(RAW_MESSAGE, RawRedis::connect(&place, Announce::Message, waiting).await?);
    arms.add(RAW_REDIS, RawRedis::connect(&place, Announce::Stream, waiting).await?);
    arms.add(REDIS, on_replicated(&pair)?);
    arms.add(RAW_ETCD, raw);
    arms.add(ETCD, ours.clone());
    arms.add(ETCD_AGAIN, ours);
    arms.add_delayed(RAW_MESSAGE_FAR, message_apart, redis_delay);
    arms.add_delayed(RAW_REDIS_FAR, stream_apart, redis_delay);
    arms.add_delayed(REDIS_FAR, on_replicated(&pair_apart)?, redis_delay);
    arms.add_delayed(RAW_ETCD_FAR, raw_apart, etcd_delay);
    arms.add_delayed(ETCD_FAR, ours_apart, etcd_delay);
    arms.measure(lab, first, rounds, plan).await
}

fn found(compared: &Compared, records: &Records) -> Finding {
    let says: Vec<_> = compared.deciding.iter().map(|interval| says(*interval)).collect();
    let verdict = verdict(&says);
    let ours = compared.deciding[0];
    let of = |arm, figure| millis(records.median(arm, figure));
    let first = format!(
        "At {RATE} changes a second, every one synced to disk and on a second node before it is acknowledged, half of all changes reach a watcher \
         within {} through this project's Redis registry and within {} through its etcd registry; Redis takes {} times as long, by the 95 % interval.",
        of(REDIS, P50),
        of(ETCD, P50),
        ratio(ours)
    );
    let ahead = records.median(REDIS_FAR, ACK_TO_RECEIVED_P50).map(|micros| -micros);
    let open = if verdict == Verdict::Undecided { ", which is too little to decide by" } else { "" };
    let told_first = match ahead {
        Some(ahead) if ahead > 0.0 => format!(
            "; with nodes 1 ms apart, watchers of Redis are told {} before the change is known to be on a second node, which is the price of the speed",
            millis(Some(ahead))
        ),
        _ => String::new(),
    };
    let acknowledged = COMPARISON.compare(records, ACK_P50).map_or_else(
        |_| String::new(),
        |compared| {
            let of = |wanted: Pair| {
                let found = COMPARISON.deciding.iter().zip(&compared.deciding).find(|(pair, _)| **pair == wanted);
                found.map_or_else(String::new, |(_, interval)| ratio(*interval))
            };
            let (near, far) = (
                of(Pair { redis: REDIS, etcd: ETCD }),
                of(Pair { redis: REDIS_FAR, etcd: ETCD_FAR }),
            );
            format!(
                "; until its writer knows that a change is on a second node, this project's Redis registry takes {near} times as long as its etcd registry, \
                 and {far} times with nodes 1 ms apart"
            )
        },
    );
    let second = format!("{}{open}{told_first}{acknowledged}.", counted(compared));
    Finding { verdict, figure: format!("Redis / etcd {}", ratio(ours)), sentences: [first, second] }
}

#[cfg(test)]
mod tests {
    use super::super::pairs::tests::rounds;
    use super::{
        COMPARISON, Durable, ETCD, ETCD_AGAIN, ETCD_FAR, P50, RAW_ETCD, RAW_ETCD_FAR, RAW_MESSAGE,
        RAW_MESSAGE_FAR, RAW_REDIS, RAW_REDIS_FAR, REDIS, REDIS_FAR,
    };
    use crate::experiment::Experiment;
    use crate::finding::Verdict;
    use crate::record::Records;

    /// Of which etcd takes 2,000 µs, and 3,000 µs apart.
    fn records(near: f64, apart: f64, again: f64) -> Records {
        let arms = [
            (REDIS, near),
            (RAW_MESSAGE, near),
            (RAW_REDIS, near),
            (REDIS_FAR, apart),
            (RAW_MESSAGE_FAR, apart),
            (RAW_REDIS_FAR, apart),
            (RAW_ETCD, 2_000.0),
            (ETCD, 2_000.0),
            (ETCD_AGAIN, again),
            (RAW_ETCD_FAR, 3_000.0),
            (ETCD_FAR, 3_000.0),
        ];
        rounds(P50, &arms)
    }

    fn verdict(records: &Records) -> Verdict {
        Durable.judge(records).verdict
    }

    #[test]
    fn each_verdict_has_its_records() {
        assert_eq!(verdict(&records(2_210.0, 3_310.0, 2_000.0)), Verdict::Confirmed);
        assert_eq!(verdict(&records(2_210.0, 3_290.0, 2_000.0)), Verdict::Depends);
        assert_eq!(verdict(&records(2_190.0, 3_290.0, 2_000.0)), Verdict::Refuted);
        assert_eq!(verdict(&records(2_190.0, 3_290.0, 2_100.0)), Verdict::Undecided);
        assert_eq!(verdict(&Records::default()), Verdict::Undecided);
    }

    #[test]
    fn without_a_deciding_pair_there_is_no_verdict() {
        let all = records(1_000.0, 1_000.0, 2_000.0);
        for pair in COMPARISON.deciding {
            let without: Records = all.all().filter(|record| record.arm != pair.etcd).cloned().collect();
            assert_eq!(verdict(&without), Verdict::Undecided);
        }
    }

    #[test]
    fn the_figure_is_that_of_this_projects_registries() {
        let finding = Durable.judge(&records(1_000.0, 1_000.0, 2_000.0));
        assert_eq!(finding.figure, "Redis / etcd 0.50 (0.50 to 0.50)");
        assert!(finding.sentences[1].contains("less long in 6"), "{finding:?}");
    }
}
