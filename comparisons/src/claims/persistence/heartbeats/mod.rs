//! 5c: what heartbeats cost in writes to the disk.

mod judge;
mod measure;

use std::time::Duration;

use async_trait::async_trait;

use self::judge::UNNOTICED;
use self::measure::{SETTLED, measure};
use super::subjects::{Policy, Running, Way, side_by_side};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, ratio};

/// The experiment.
#[derive(Debug)]
pub(super) struct Heartbeats;

const ETCD: &str = "etcd 1 node";
/// The policy that decides: the usual one of those that keep what was acknowledged.
const NAIVE: &str = "redis-naive hash, AOF everysec";
const OURS: &str = "redis, AOF everysec";

/// Bytes that the server wrote to its disk for 1,000 heartbeats, beyond what it writes anyway.
const WRITTEN: &str = "bytes_per_1000";
/// By how much the append-only file grew for 1,000 heartbeats.
const GREW: &str = "aof_bytes_per_1000";
/// What the server wrote in the same time without heartbeats.
const IDLE: &str = "idle_bytes";
/// Heartbeats that were acknowledged.
const RENEWALS: &str = "renewals";

const ABOUT: About = About {
    id: "5c",
    title: "Heartbeats and the disk",
    question: "How much does the server write to its disk for 1,000 heartbeats?",
    hypothesis: "Redis with an append-only file writes every heartbeat down, since a time to live is data to it; etcd keeps that in memory.",
    set_up: "A hundred instances on one server with its data on a real disk, syncs on. Their heartbeats come at 200 a second. The bytes that the kernel has accounted to the server's process as \
             written (`write_bytes` of /proc/<pid>/io) are compared with those of the same time without heartbeats; the growth of the append-only file is a cross-check.",
    rule: "Shown for a backend on Redis if, with AOF everysec, it writes more than 2 times what etcd writes and more than 10 kB for 1,000 heartbeats; shown for etcd if it writes more than 2 times \
           the lesser of the two and more than 10 kB. Nothing is decided if one of these broke off.",
    falsifier: "Redis writes no more than twice what etcd does.",
    remedy: "registry-redis persists deadlines, which buys that a restart neither lists the dead for a full TTL nor forgets the living; where that is not worth the writes, snapshots or no persistence do, since \
             owners register again.",
    caveat: "etcd buys its silence by not keeping how much of a lease is left: after a restart or a change of leader every lease begins anew. The kernel counts whole pages, and a page that is written to many \
             times between two syncs once, so figures depend on the rate.",
    left_out: "etcd with three nodes, each of which writes what one alone does; the registry in memory, which writes nothing; and Redis without an append-only file, which writes nothing for a heartbeat and keeps none: 5a and 5b \
               show what that costs.",
    harmless: false,
};

const COLUMNS: [Column; 4] = [
    Column::new("written for 1,000 heartbeats", WRITTEN, OfRuns::Median, Unit::Bytes),
    Column::new("append-only file grew by", GREW, OfRuns::Median, Unit::Bytes),
    Column::new("written when idle, same time", IDLE, OfRuns::Median, Unit::Bytes),
    Column::new("heartbeats", RENEWALS, OfRuns::Sum, Unit::Count),
];

const POLICIES: [Policy; 2] = [Policy::EverySecond, Policy::Always];

#[async_trait]
impl Experiment for Heartbeats {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = SETTLED.as_secs_f64() + 2.0 * window(lab).as_secs_f64() + 3.0;
        (0..lab.by_scale(1, 3)).map(|run| Step::new(format!("run {run}"), seconds)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let run = step.name.trim_start_matches("run ").parse().unwrap_or_default();
        let mut running: Vec<Running<'_>> = Vec::new();
        for way in Way::ALL {
            for policy in POLICIES {
                let arm = format!("{}, {}", way.name(), policy.name());
                running.push((arm.clone(), Box::pin(measure(lab, arm, Some((way, policy)), run))));
            }
        }
        running.push((ETCD.to_owned(), Box::pin(measure(lab, ETCD.to_owned(), None, run))));
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
            let written = records.median(arm, WRITTEN)?;
            let bad = written > UNNOTICED;
            let kib = written / 1024.0;
            let label = format!("{} KiB", if kib < 100.0 { ratio(kib) } else { count(kib) });
            Some(Bar { name: arm.to_owned(), length: kib, label, bad })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title = "What a server writes to its disk for 1,000 heartbeats, beyond what it writes anyway";
        vec![Picture {
            title: title.to_owned(),
            drawing: Drawing::Bars { x: "KiB for 1,000 heartbeats".to_owned(), bars },
        }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
    }
}

/// How long heartbeats are sent, and how long none are before.
fn window(lab: &Lab) -> Duration {
    Duration::from_secs(lab.by_scale(7, 10))
}
