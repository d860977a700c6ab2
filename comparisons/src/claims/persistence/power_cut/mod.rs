//! 5a: the power is cut under a writer, at each durability that can be configured.

mod causes;
mod judge;
mod pictures;
mod run;
mod writer;

use async_trait::async_trait;

use super::subjects::Policy;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::Records;

/// The experiment.
#[derive(Debug)]
pub(super) struct PowerCut;

const ETCD: &str = "etcd 1 node";
const NAIVE_NOTHING: &str = "redis-naive hash, no persistence";
const NAIVE_SNAPSHOTS: &str = "redis-naive hash, RDB default";
const NAIVE_EVERY_SECOND: &str = "redis-naive hash, AOF everysec";
const NAIVE_ALWAYS: &str = "redis-naive hash, AOF always";
const OURS_EVERY_SECOND: &str = "redis, AOF everysec";
const OURS_ALWAYS: &str = "redis, AOF always";

/// 1 for each run.
const RUNS: &str = "runs";
/// How many writes were acknowledged.
const ACKNOWLEDGED: &str = "acknowledged";
/// How many of them are not there any more.
const LOST: &str = "lost";
/// From the oldest that is lost until the power was cut.
const WINDOW: &str = "window_s";
/// How many instances a watcher lists that are not there, or the other way round, once it is told of changes again.
const DIFFERENCES: &str = "watcher_differs";
/// Whether the watcher was told that something may be missing.
const TOLD: &str = "told";
/// How many resets of a watch of ours named the loss as their cause: a history that is another, or a store that was emptied.
const RESETS: &str = "resets_for_a_loss";
/// Of how many connection errors it was told since the cut, which say nothing of what it missed.
const TROUBLES: &str = "troubles_told";
/// From when the server was there again until the instances of living processes were listed again, or as long as that was waited for.
const LISTED_AGAIN: &str = "listed_again_s";
/// Whether all of them were within that time.
const ALL_AGAIN: &str = "all_listed_again";
/// From the cut until the server answers again.
const DOWN: &str = "down_s";
/// When writes were acknowledged, in seconds from the cut, of the first run: those that are there, and those that are not.
const KEPT_AT: &str = "kept_at_s";
const LOST_AT: &str = "lost_at_s";

const ABOUT: About = About {
    id: "5a",
    title: "Power cut",
    question: "The power of the server fails: is everything still there that it had acknowledged?",
    hypothesis: "Redis loses what it acknowledged, at any setting; etcd syncs before it answers and loses nothing.",
    set_up: "One server with its data on a disk of its own (ext4 on a loop device). A client registers 500 instances a second. At a random moment the server is stopped in its tracks, \
             what the device holds past the page cache is copied, the server is killed and started again on the copy. Every acknowledged registration is looked for; what was \
             under way at the cut does not count. Ten processes that have just registered, and a watcher, show what happens afterwards.",
    rule: "Redis's own if acknowledged writes are lost with an append-only file that is synced before each answer (AOF always), or if one synced every second (AOF everysec) loses \
           more than the 2 seconds that are documented. The naive way's if the naive registry loses any with the default snapshots or with everysec. etcd's if it loses one. Nothing is decided if an arm of these broke off.",
    falsifier: "Nothing is lost with AOF always, or etcd loses an acknowledged write.",
    remedy: "registry-redis reads from the server how durable it is and claims no more; after a loss its watches are reset with the cause, and registrars register again, so that the loss is told \
             and repaired instead of prevented.",
    caveat: "The first save point of the default snapshots is after 60 s at the earliest, so that a server that is seconds old loses everything since its start; one that has run for long loses what came after its last save. A registry can be rebuilt from its living owners, so losing the last second is not like losing data. AOF always costs a sync for each write, as etcd does. A disk that lies about syncs is \
             not imitated, nor is the loss of the disk, which only copies on other machines survive.",
    left_out: "The naive registry with a key for each instance, since the server decides what survives, and it is the same server; etcd with three nodes, since one alone must already keep what it acknowledged; the registry in \
               memory, which keeps nothing.",
    harmless: false,
};

const COLUMNS: [Column; 9] = [
    Column::new("acknowledged", ACKNOWLEDGED, OfRuns::Sum, Unit::Count),
    Column::new("of these lost", LOST, OfRuns::Sum, Unit::Count),
    Column::new("oldest lost, before the cut", WINDOW, OfRuns::Max, Unit::Seconds),
    Column::new("wrong in a watcher's view", DIFFERENCES, OfRuns::Sum, Unit::Count),
    Column::new("runs", RUNS, OfRuns::Sum, Unit::Count),
    Column::new("in which the watcher was told of a gap", TOLD, OfRuns::Sum, Unit::Count),
    Column::new("connection errors told to the watcher", TROUBLES, OfRuns::Sum, Unit::Count),
    Column::new("in which all living were listed again", ALL_AGAIN, OfRuns::Sum, Unit::Count),
    Column::new("after, at the longest (20 s if never)", LISTED_AGAIN, OfRuns::Max, Unit::Seconds),
];

/// What is written to, and how.
#[derive(Clone, Copy, Debug)]
enum Arm {
    Naive(Policy),
    Ours(Policy),
    Etcd,
}

const ARMS: [(&str, Arm); 7] = [
    (NAIVE_NOTHING, Arm::Naive(Policy::Nothing)),
    (NAIVE_SNAPSHOTS, Arm::Naive(Policy::Snapshots)),
    (NAIVE_EVERY_SECOND, Arm::Naive(Policy::EverySecond)),
    (NAIVE_ALWAYS, Arm::Naive(Policy::Always)),
    (OURS_EVERY_SECOND, Arm::Ours(Policy::EverySecond)),
    (OURS_ALWAYS, Arm::Ours(Policy::Always)),
    (ETCD, Arm::Etcd),
];

/// About how long one run takes.
const SECONDS: f64 = 5.5;

#[async_trait]
impl Experiment for PowerCut {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        ARMS.iter().map(|(arm, _)| Step::new(*arm, f64::from(runs(lab)) * SECONDS)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let (name, arm) = ARMS
            .into_iter()
            .find(|(name, _)| *name == step.name)
            .ok_or_else(|| Trouble::failed(format!("there is no arm {}", step.name)))?;
        for run in 0..runs(lab) {
            lab.keep(run::cut(lab, name, arm, run).await?);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge::judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        if records.all().all(|record| !record.is_valid()) {
            return Vec::new();
        }
        vec![pictures::bars(records), pictures::timeline(records)]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 5)
}
