//! 3a: how long a change takes to a watcher while nothing is wrong.

use async_trait::async_trait;
use registry_memory::MemoryRegistry;
use registry_testing::servers::etcd::{Etcd, EtcdCluster};
use registry_testing::servers::redis::Redis;

use super::arms::{Arms, P50, P99, RATE, plan, seconds};
use super::pairs::{Compared, Comparison, Pair, says, verdict};
use super::servers::{etcd_as_it_comes, on_leader, on_one, on_redis};
use super::shown::{COLUMNS, counted, distributions, forest, millis, ratio};
use crate::contestants::{Announce, NaiveHash, Ours, Place, RawEtcd, RawRedis};
use crate::experiment::{About, Column, Experiment, Step, Trouble};
use crate::finding::{Finding, Verdict};
use crate::lab::Lab;
use crate::measure::BlockPlan;
use crate::picture::Picture;
use crate::record::Records;
use crate::theirs::Theirs;

/// The experiment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Healthy;

const MEMORY: &str = "memory";
const NAIVE: &str = "redis-naive hash";
const RAW_MESSAGE: &str = "redis, raw PUBLISH";
const RAW_REDIS: &str = "redis, raw stream";
const REDIS: &str = "redis";
const RAW_ETCD_1: &str = "etcd, raw, 1 node";
const ETCD_1: &str = "etcd 1 node";
const ETCD_1_AGAIN: &str = "etcd 1 node, again";
const RAW_ETCD_3: &str = "etcd, raw, 3 nodes";
const ETCD_3: &str = "etcd 3 nodes";
/// On servers of the reader, of which it is not known how many there are.
const RAW_ETCD_THEIRS: &str = "etcd, raw";
const ETCD_THEIRS: &str = "etcd";
const ETCD_THEIRS_AGAIN: &str = "etcd, again";

const ARMS: usize = 10;
const ARMS_ON_THEIRS: usize = 8;

/// On servers that are started here.
const OWN: Comparison = Comparison {
    control: [ETCD_1_AGAIN, ETCD_1],
    deciding: &[
        Pair { redis: REDIS, etcd: ETCD_1 },
        Pair { redis: REDIS, etcd: ETCD_3 },
        Pair { redis: RAW_MESSAGE, etcd: RAW_ETCD_3 },
        Pair { redis: RAW_REDIS, etcd: RAW_ETCD_3 },
        Pair { redis: RAW_MESSAGE, etcd: RAW_ETCD_1 },
        Pair { redis: RAW_REDIS, etcd: RAW_ETCD_1 },
    ],
    beside: &[Pair { redis: NAIVE, etcd: RAW_ETCD_1 }],
};

/// On servers of the reader.
const THEIRS: Comparison = Comparison {
    control: [ETCD_THEIRS_AGAIN, ETCD_THEIRS],
    deciding: &[
        Pair { redis: REDIS, etcd: ETCD_THEIRS },
        Pair { redis: RAW_MESSAGE, etcd: RAW_ETCD_THEIRS },
        Pair { redis: RAW_REDIS, etcd: RAW_ETCD_THEIRS },
    ],
    beside: &[Pair { redis: NAIVE, etcd: RAW_ETCD_THEIRS }],
};

/// Which of the two was run.
fn comparison(records: &Records) -> &'static Comparison {
    if records.arms().contains(&ETCD_THEIRS) { &THEIRS } else { &OWN }
}

/// How long the servers of a step take to start, in seconds.
const START: f64 = 6.0;

/// Steps, rounds of a step, and changes of a block.
fn size(lab: &Lab) -> (u32, u32, BlockPlan) {
    let (steps, rounds, events) = lab.by_scale((2, 5, 100), (8, 3, 200));
    (steps, rounds, plan(events))
}

#[async_trait]
impl Experiment for Healthy {
    fn about(&self) -> &'static About {
        &About {
            id: "3a",
            title: "From a change to its watcher, nothing wrong",
            question: "While all servers are sound, does a change take longer to reach a watcher through Redis than through etcd?",
            hypothesis: "With the same information stored and announced, watchers of Redis are told later than watchers of etcd.",
            set_up: "50 instances of one service are changed in turn, 200 changes a second, by a schedule that waits for no answer; one watcher of the \
                     service notes when it is told. Time counts from when the change was to be sent. The servers run as they are installed by default \
                     for this use, with their data in memory: Redis without persistence, etcd with one node and with three, asked by its leader, \
                     which is the fastest it can do. Beside this project's registries, the bare commands are compared (HSET and PUBLISH; HSET and XADD, \
                     read by XREAD BLOCK; put and watch) with values of the size of a registry's. The hash that people write is shown beside them and decides \
                     nothing: its values are numbers only, and it takes two requests for a change. The arms take turns in short blocks, in an order that \
                     is reversed from round to round; every few rounds the servers are started anew, and who comes first is drawn anew; blocks are thrown away and repeated when their sends were late by more than 200 µs at the 99th \
                     percentile, when the machine was more than 70 % busy, or when that is not known; never for what became of their changes. The thread that \
                     sends goes before all others where the system allows it, for all arms alike.",
            rule: "The median latency on Redis is divided by that on etcd in each round, and the goes of the servers and the rounds in each are resampled for the 95 % interval of the \
                   median ratio. An interval above 1.1: Redis is slower. Below 0.9: Redis is faster. Not above 1.1: no difference to speak of. Any \
                   other: open. Compared are this project's registries and both ways of the bare commands, each with etcd of one node and of three. \
                   Redis slower in all of them: confirmed. In some and not in others: depends. In none: refuted. Undecided if a pair \
                   that is open could change that, if fewer than 8 rounds count, if the interval of an arm that is measured twice does not hold 1, if \
                   a step broke off, or if a single change in an arm that decides was not acknowledged or never seen by the watcher: for the percentiles \
                   such a change takes for ever.",
            falsifier: "No interval above 1.1.",
            remedy: "registry-redis stores and announces a change by one script, and its watchers are pushed the change itself on a channel, and check by \
                     the log that it follows the one before: nothing is asked for again.",
            caveat: "These are not the same promises: an etcd of three nodes tells a watcher what a majority has agreed on, while Redis tells it what one \
                     server holds in memory. Where etcd has three nodes, a single Redis is compared with one that is replicated; with both replicated and as durable as \
                     can be it is experiment 3b. All of it runs on one machine, where the network costs nothing.",
            left_out: "`redis-naive key`: with its events a watcher is only told which key changed, and has to ask for the value, so that it would not be \
                       compared on equal information.",
            harmless: true,
        }
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let (steps, rounds, plan) = size(lab);
        let (arms, start) = if lab.theirs.is_some() { (ARMS_ON_THEIRS, 1.0) } else { (ARMS, START) };
        let step = |number| Step::new(format!("rounds {number}"), seconds(arms, rounds, &plan, start));
        (1..=steps).map(step).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let (_, rounds, plan) = size(lab);
        let steps = self.steps(lab);
        let before = steps.iter().take_while(|other| other.name != step.name).count();
        let first = u32::try_from(before).unwrap_or(u32::MAX).saturating_mul(rounds);
        match &lab.theirs {
            Some(theirs) => on_theirs(theirs).await?.measure(lab, first, rounds, &plan).await,
            None => on_own(lab, first, rounds, &plan).await,
        }
    }

    fn judge(&self, records: &Records) -> Finding {
        let comparison = comparison(records);
        match comparison.compare(records, P50) {
            Ok(compared) => found(comparison, &compared, records),
            Err(why) => Finding::undecided(why),
        }
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let comparison = comparison(records);
        let arms = [
            NAIVE,
            RAW_MESSAGE,
            RAW_REDIS,
            REDIS,
            RAW_ETCD_1,
            ETCD_1,
            RAW_ETCD_3,
            ETCD_3,
            RAW_ETCD_THEIRS,
            ETCD_THEIRS,
        ];
        let forest = |figure, what| forest(comparison, records, figure, what);
        let pictures = [forest(P50, "median latency"), forest(P99, "99th percentile of latency")];
        pictures.into_iter().chain([distributions(records, &arms)]).flatten().collect()
    }
}

async fn on_own(lab: &Lab, first: u32, rounds: u32, plan: &BlockPlan) -> Result<(), Trouble> {
    let options = etcd_as_it_comes(lab);
    let (redis, one, three) = tokio::try_join!(
        Redis::start(lab.redis_options()),
        Etcd::start(options.clone()),
        EtcdCluster::start(3, options)
    )?;
    let (ours_1, raw_1) = on_one(&one).await?;
    let (ours_3, raw_3) = on_leader(&three).await?;
    let place = Place::Server(redis.address());
    let mut arms = Arms::new("latency");
    arms.add(MEMORY, Ours::new(MemoryRegistry::new()));
    arms.add(NAIVE, NaiveHash::new(place.clone()));
    arms.add(RAW_MESSAGE, RawRedis::connect(&place, Announce::Message, None).await?);
    arms.add(RAW_REDIS, RawRedis::connect(&place, Announce::Stream, None).await?);
    arms.add(REDIS, on_redis(&redis)?);
    arms.add(RAW_ETCD_1, raw_1);
    arms.add(ETCD_1, ours_1.clone());
    arms.add(ETCD_1_AGAIN, ours_1);
    arms.add(RAW_ETCD_3, raw_3);
    arms.add(ETCD_3, ours_3);
    arms.measure(lab, first, rounds, plan).await
}

async fn on_theirs(theirs: &Theirs) -> Result<Arms, Trouble> {
    let place = theirs.redis_place();
    let etcd = theirs.our_etcd().await?;
    let mut arms = Arms::new(format!("{}-latency", theirs.prefix()));
    arms.add(MEMORY, Ours::new(MemoryRegistry::new()));
    arms.add(NAIVE, NaiveHash::new(place.clone()));
    arms.add(RAW_MESSAGE, RawRedis::connect(&place, Announce::Message, None).await?);
    arms.add(RAW_REDIS, RawRedis::connect(&place, Announce::Stream, None).await?);
    arms.add(REDIS, theirs.our_redis().await?);
    arms.add(RAW_ETCD_THEIRS, RawEtcd::new(theirs.etcd_client().await?));
    arms.add(ETCD_THEIRS, etcd.clone());
    arms.add(ETCD_THEIRS_AGAIN, etcd);
    Ok(arms)
}

fn found(comparison: &Comparison, compared: &Compared, records: &Records) -> Finding {
    let says: Vec<_> = compared.deciding.iter().map(|interval| says(*interval)).collect();
    let verdict = verdict(&says);
    let took = |arm| millis(records.median(arm, P50));
    let pairs = comparison.deciding.iter().zip(&compared.deciding);
    let ours: Vec<_> = pairs.filter(|(pair, _)| pair.redis == REDIS).collect();
    // How many nodes those of the reader have is not known.
    let nodes = |pair: &Pair| pair.etcd.strip_prefix("etcd ");
    let with = |pair: &Pair, figure: String, word: &str| match nodes(pair) {
        Some(nodes) => format!("{figure} {word} {nodes}"),
        None => figure,
    };
    let on_etcd: Vec<String> = ours.iter().map(|(pair, _)| with(pair, took(pair.etcd), "with")).collect();
    let times = |it| format!("{} times as long", ratio(it));
    let times: Vec<String> = ours.iter().map(|(pair, it)| with(pair, times(**it), "as with")).collect();
    let first = format!(
        "At {RATE} changes a second, half of all changes reach a watcher within {} through this project's Redis registry and within {} through its etcd \
         registry; by the 95 % interval Redis takes {}.",
        took(REDIS),
        on_etcd.join(" and "),
        times.join(" and ")
    );
    let figures = ours.iter().map(|(pair, it)| match nodes(pair) {
        Some(nodes) => format!("{nodes} {}", ratio(**it)),
        None => ratio(**it),
    });
    let figures: Vec<String> = figures.collect();
    let colon = if figures.len() > 1 { ":" } else { "" };
    let figure = format!("Redis / etcd{colon} {}", figures.join(", "));
    let open = if verdict == Verdict::Undecided { ", which is too little to decide by" } else { "" };
    let second = format!("{}{open}.", counted(compared));
    Finding { verdict, figure, sentences: [first, second] }
}

#[cfg(test)]
mod tests {
    use super::super::arms::UNSEEN;
    use super::super::pairs::tests::rounds;
    use super::{
        ETCD_1, ETCD_1_AGAIN, ETCD_3, ETCD_THEIRS, ETCD_THEIRS_AGAIN, Healthy, P50, RAW_ETCD_1, RAW_ETCD_3,
        RAW_ETCD_THEIRS, RAW_MESSAGE, RAW_REDIS, REDIS,
    };
    use crate::experiment::Experiment;
    use crate::finding::Verdict;
    use crate::record::Records;

    /// Of which etcd takes 400 µs with one node and 1,000 µs with three.
    fn records(ours: f64, message: f64, stream: f64, again: f64) -> Records {
        let arms = [
            (REDIS, ours),
            (RAW_MESSAGE, message),
            (RAW_REDIS, stream),
            (RAW_ETCD_1, 400.0),
            (ETCD_1, 450.0),
            (ETCD_1_AGAIN, again),
            (RAW_ETCD_3, 1_000.0),
            (ETCD_3, 1_000.0),
        ];
        rounds(P50, &arms)
    }

    fn verdict(records: &Records) -> Verdict {
        Healthy.judge(records).verdict
    }

    #[test]
    fn the_claim_holds_where_redis_is_slower_throughout() {
        assert_eq!(verdict(&records(1_110.0, 1_110.0, 1_110.0, 450.0)), Verdict::Confirmed);
    }

    #[test]
    fn the_claim_falls_where_redis_is_slower_nowhere() {
        let finding = Healthy.judge(&records(330.0, 440.0, 330.0, 450.0));
        assert_eq!(
            (finding.verdict, finding.figure.as_str()),
            (Verdict::Refuted, "Redis / etcd: 1 node 0.73 (0.73 to 0.73), 3 nodes 0.33 (0.33 to 0.33)")
        );
        assert!(finding.sentences[0].contains("within 0.33 ms"), "{finding:?}");
        assert!(finding.sentences[0].contains("0.45 ms with 1 node and 1.00 ms with 3 nodes"), "{finding:?}");
    }

    #[test]
    fn it_depends_where_redis_is_slower_than_one_node_only() {
        assert_eq!(verdict(&records(330.0, 450.0, 330.0, 450.0)), Verdict::Depends);
        assert_eq!(verdict(&records(500.0, 440.0, 330.0, 450.0)), Verdict::Depends, "through the registries");
        assert_eq!(verdict(&records(490.0, 440.0, 330.0, 450.0)), Verdict::Refuted);
    }

    #[test]
    fn a_change_that_never_came_leaves_it_undecided() {
        let with = |unseen: f64| {
            let all = records(330.0, 440.0, 330.0, 450.0);
            let all = all.all().cloned().map(|record| match (record.arm.as_str(), record.run) {
                (REDIS, 5) => record.with(UNSEEN, unseen),
                _ => record,
            });
            Healthy.judge(&all.collect())
        };
        assert_eq!(with(0.0).verdict, Verdict::Refuted);
        let finding = with(1.0);
        assert_eq!(finding.verdict, Verdict::Undecided);
        assert!(finding.sentences[0].contains("never seen by the watcher"), "{finding:?}");
    }

    #[test]
    fn an_arm_that_differs_from_itself_decides_nothing() {
        assert_eq!(verdict(&records(330.0, 440.0, 330.0, 460.0)), Verdict::Undecided);
    }

    #[test]
    fn no_records_decide_nothing() {
        assert_eq!(verdict(&Records::default()), Verdict::Undecided);
        assert!(Healthy.pictures(&Records::default()).is_empty());
        let all = records(330.0, 330.0, 330.0, 450.0);
        let without = all.all().filter(|record| record.arm != RAW_ETCD_3 || record.run < 7).cloned();
        assert_eq!(verdict(&without.collect()), Verdict::Undecided);
    }

    #[test]
    fn blocks_that_were_thrown_away_decide_nothing() {
        let all = records(330.0, 330.0, 330.0, 450.0);
        assert_eq!(
            verdict(&all.all().map(|record| record.clone().invalid("busy")).collect()),
            Verdict::Undecided
        );
    }

    #[test]
    fn on_servers_of_the_reader_what_is_there_is_compared() {
        let arms = [
            (REDIS, 300.0),
            (RAW_MESSAGE, 300.0),
            (RAW_REDIS, 300.0),
            (ETCD_THEIRS, 900.0),
            (ETCD_THEIRS_AGAIN, 900.0),
            (RAW_ETCD_THEIRS, 900.0),
        ];
        let finding = Healthy.judge(&rounds(P50, &arms));
        let figure = "Redis / etcd 0.33 (0.33 to 0.33)";
        assert_eq!((finding.verdict, finding.figure.as_str()), (Verdict::Refuted, figure));
    }

    #[test]
    fn what_decides_is_to_be_seen() {
        let pictures = Healthy.pictures(&records(330.0, 330.0, 330.0, 450.0));
        assert_eq!(pictures.len(), 1, "no 99th percentiles, no distributions");
    }
}
