//! 5d: the store refuses to write, or throws out, while instances live on.

mod judge;
mod run;
mod trouble;

use std::time::Duration;

use async_trait::async_trait;

use self::trouble::{OfRedis, Store};
use super::subjects::{Running, Way, side_by_side};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, share};

/// The experiment.
#[derive(Debug)]
pub(super) struct StoreFull;

const ETCD: &str = "etcd 1 node, quota reached";
const MEMORY: &str = "memory, capacity reached";
/// How many instances live all the time.
const LIVING: u32 = 20;
/// They beat every third of it.
const TTL: Duration = Duration::from_secs(3);

/// 1 for each run.
const RUNS: &str = "runs";
/// How many of the living were missing at some time, from lookups or from a watcher's view.
const LOST: &str = "lost";
const LOST_FROM_LOOKUP: &str = "lost_from_lookup";
const LOST_FROM_VIEW: &str = "lost_from_view";
/// Shares during the trouble: of heartbeats that were acknowledged, of newcomers that were let in, of lookups that failed.
const HEARTBEATS: &str = "heartbeats_acknowledged";
const NEWCOMERS: &str = "newcomers_accepted";
const LOOKUPS_FAILED: &str = "lookups_failed";
/// How many of the living are listed one TTL and 5 s after the trouble, or as soon as all are; when that is, or as long as it was waited for; and
/// whether all were.
const BACK: &str = "back";
const RELISTED: &str = "relisted_s";
const ALL_BACK: &str = "all_back";

const ABOUT: About = About {
    id: "5d",
    title: "Store full",
    question: "The store takes no more writes: are instances that are alive still listed?",
    hypothesis: "On Redis heartbeats are writes, so the living expire as soon as writes are refused; on etcd heartbeats need no room.",
    set_up: "Twenty instances with a TTL of 3 s beat every second. For some TTLs the store refuses: `maxmemory` is reached, a background save has failed, the replicas that are demanded are missing, etcd's \
             quota is reached; or it evicts, since another user fills it. Somebody looks five times a second, somebody new registers once a second, a watcher watches. Then an operator mends it.",
    rule: "Shown where a living instance is ever missing from a lookup or from a watcher's view, in one of the three troubles in which Redis refuses, or when etcd is full. Eviction is a setting that removes data \
           by design; it is in the table and decides nothing. Nothing is decided if another arm broke off.",
    falsifier: "On Redis no living instance is lost, or on etcd one is.",
    remedy: "registry-redis lets heartbeats run where the memory is full, and counts no time in which writes were refused against any lease, so that nobody living is deleted; new instances are refused by a \
             clear error. It warns of an evicting policy.",
    caveat: "A full etcd refuses every registration, and puts of any kind, until an operator has compacted, defragmented and disarmed the alarm; a full Redis until there is memory. A \
             heartbeat of the naive ways writes the value again, which is what a full Redis refuses; a bare EXPIRE is not refused, and would have kept those alive that were there. While time stands still nobody dead \
             goes either.",
    left_out: "etcd with three nodes, since the alarm of one member is that of the cluster.",
    harmless: false,
};

const COLUMNS: [Column; 9] = [
    Column::new("living instances lost", LOST, OfRuns::Sum, Unit::Count),
    Column::new("from lookups", LOST_FROM_LOOKUP, OfRuns::Sum, Unit::Count),
    Column::new("from a watcher's view", LOST_FROM_VIEW, OfRuns::Sum, Unit::Count),
    Column::new("heartbeats acknowledged", HEARTBEATS, OfRuns::Median, Unit::Share),
    Column::new("newcomers let in", NEWCOMERS, OfRuns::Median, Unit::Share),
    Column::new("lookups failed", LOOKUPS_FAILED, OfRuns::Median, Unit::Share),
    Column::new("runs", RUNS, OfRuns::Sum, Unit::Count),
    Column::new("in which all were listed after the end", ALL_BACK, OfRuns::Sum, Unit::Count),
    Column::new("after, at the longest (8 s if never)", RELISTED, OfRuns::Max, Unit::Seconds),
];

fn arm(way: Way, trouble: OfRedis) -> String {
    format!("{}, {}", way.name(), trouble.name())
}

fn arms(ways: &[Way], troubles: &[OfRedis]) -> Vec<String> {
    ways.iter().flat_map(|way| troubles.iter().map(|trouble| arm(*way, *trouble))).collect()
}

fn lasts(lab: &Lab) -> Duration {
    Duration::from_secs(lab.by_scale(8, 12))
}

#[async_trait]
impl Experiment for StoreFull {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        // Those that are not back use up the time that they have.
        let takes = lasts(lab).as_secs_f64() + 4.0;
        (0..lab.by_scale(1, 3)).map(|run| Step::new(format!("run {run}"), takes)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let run = step.name.trim_start_matches("run ").parse().unwrap_or_default();
        let lasts = lasts(lab);
        let mut running: Vec<Running<'_>> = Vec::new();
        for way in Way::ALL {
            for trouble in OfRedis::ALL {
                let arm = arm(way, trouble);
                let name = arm.clone();
                running.push((
                    arm,
                    Box::pin(async move {
                        run::trouble(Store::redis(lab, trouble, way).await?, name, lasts, run).await
                    }),
                ));
            }
        }
        running.push((
            ETCD.to_owned(),
            Box::pin(async move { run::trouble(Store::etcd(lab).await?, ETCD.to_owned(), lasts, run).await }),
        ));
        let memory = run::trouble(Store::memory(LIVING as usize), MEMORY.to_owned(), lasts, run);
        running.push((MEMORY.to_owned(), Box::pin(memory)));
        side_by_side(lab, run, running).await;
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge::judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, "of")?);
            let heartbeats = records.median(arm, HEARTBEATS)?;
            let label =
                format!("{} of {}; {} of heartbeats acknowledged", count(lost), count(of), share(heartbeats));
            Some(Bar { name: arm.to_owned(), length: lost / of * 100.0, label, bad: lost > 0.0 })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title =
            "Living instances that were not listed at some time, while the store refused writes or evicted";
        let drawing = Drawing::Bars { x: "living instances lost, %".to_owned(), bars };
        vec![Picture { title: title.to_owned(), drawing }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
    }
}
