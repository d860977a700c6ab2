//! 5c: what heartbeats cost in writes to the disk.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::subjects::{Policy, Running, Server, Way, side_by_side};
use super::words::bytes;
use crate::contestants::Member;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::{Record, Records};

/// The experiment.
///
/// `etcd 3 nodes` is left out: each of them writes what one alone does. `memory` writes nothing. Redis without an append-only file writes nothing for a
/// heartbeat either, and keeps none; 5a and 5b show what that costs.
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

/// So many times what the other writes is more.
const MORE: f64 = 2.0;
/// Bytes for 1,000 heartbeats that nobody notices.
const UNNOTICED: f64 = 10_000.0;

const SERVICE: &str = "beating.rpc";
const INSTANCES: u32 = 100;
const TTL: Duration = Duration::from_secs(120);
/// As from 2,000 instances with a TTL of 30 s.
const PER_SECOND: u32 = 200;
/// After the registrations, until what they make the server write is written: a background rewrite, the pages of a sync.
const SETTLED: Duration = Duration::from_secs(3);

const ABOUT: About = About {
    id: "5c",
    title: "Heartbeats and the disk",
    question: "How much does the server write to its disk for 1,000 heartbeats?",
    hypothesis: "Redis with an append-only file writes every heartbeat down, since a time to live is data to it; etcd keeps that in memory.",
    set_up: "A hundred instances on one server with its data on a real disk, syncs on. Their heartbeats come at 200 a second. The bytes that the kernel has accounted to the server's process as \
             written (`write_bytes` of /proc/<pid>/io) are compared with those of the same time without heartbeats; the growth of the append-only file is a cross-check.",
    rule: "Shown for a backend on Redis if, with AOF everysec, it writes more than 2 times what etcd writes and more than 10 kB for 1,000 heartbeats; shown for etcd if it writes more than 2 times \
           the lesser of the two and more than 10 kB.",
    falsifier: "Redis writes no more than twice what etcd does.",
    remedy: "registry-redis persists deadlines, which buys that a restart neither lists the dead for a full TTL nor forgets the living; where that is not worth the writes, snapshots or no persistence do, since \
             owners register again.",
    caveat: "etcd buys its silence by not keeping how much of a lease is left: after a restart or a change of leader every lease begins anew. The kernel counts whole pages, and a page that is written to many \
             times between two syncs once, so figures depend on the rate.",
    harmless: false,
};

const COLUMNS: [Column; 4] = [
    Column {
        title: "written for 1,000 heartbeats",
        figure: WRITTEN,
        of_runs: OfRuns::Median,
        unit: Unit::Bytes,
    },
    Column { title: "append-only file grew by", figure: GREW, of_runs: OfRuns::Median, unit: Unit::Bytes },
    Column {
        title: "written when idle, same time",
        figure: IDLE,
        of_runs: OfRuns::Median,
        unit: Unit::Bytes,
    },
    Column { title: "heartbeats", figure: RENEWALS, of_runs: OfRuns::Sum, unit: Unit::Count },
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
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let written = records.median(arm, WRITTEN)?;
            let bad = written > UNNOTICED;
            Some(Bar { name: arm.to_owned(), length: written / 1e3, label: bytes(written), bad })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title = "What a server writes to its disk for 1,000 heartbeats, beyond what it writes anyway";
        vec![Picture {
            title: title.to_owned(),
            drawing: Drawing::Bars { x: "kB for 1,000 heartbeats".to_owned(), bars },
        }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let etcd = records.median(ETCD, WRITTEN)?;
        let ours = records.median(OURS, WRITTEN)?;
        is_more(etcd, ours).then(|| {
            format!(
                "For 1,000 heartbeats etcd wrote {} to its disk, Redis with our backend {}.",
                bytes(etcd),
                bytes(ours)
            )
        })
    }
}

/// How long heartbeats are sent, and how long none are before.
fn window(lab: &Lab) -> Duration {
    Duration::from_secs(lab.by_scale(7, 10))
}

/// None on etcd.
async fn start(lab: &Lab, subject: Option<(Way, Policy)>) -> Result<(Server, Way), Trouble> {
    Ok(match subject {
        Some((way, policy)) => {
            let options = way.on(policy.on(lab.redis_options())).with_data_in(&lab.disk);
            (Server::Redis(Redis::start(options).await?), way)
        }
        None => {
            let mut options = lab.etcd_options().with_data_in(&lab.disk);
            options.no_fsync = false;
            (Server::Etcd(Etcd::start(options).await?), Way::Ours)
        }
    })
}

/// What the server has written so far, by the kernel's count, and how long its append-only file is.
#[derive(Clone, Copy)]
struct Written {
    bytes: u64,
    appended: Option<u64>,
}

impl Written {
    async fn by(server: &Server) -> Result<Self, Trouble> {
        let pid = server.process().pid().ok_or_else(|| Trouble::failed("the server does not run"))?;
        let counters = fs::read_to_string(format!("/proc/{pid}/io")).map_err(|error| {
            Trouble::NotRun(format!("the system does not tell what a process has written: {error}"))
        })?;
        let bytes = value_of(&counters, "write_bytes").ok_or_else(|| {
            Trouble::NotRun("the system does not count what a process has written".to_owned())
        })?;
        let appended = match server {
            Server::Redis(redis) => {
                value_of(&redis.command(&["INFO", "persistence"]).await?.text(), "aof_current_size")
            }
            Server::Etcd(_) => None,
        };
        Ok(Self { bytes, appended })
    }

    fn since(self, before: Self) -> (f64, Option<f64>) {
        let grew = self.appended.zip(before.appended);
        let grew = grew.map(|(after, before)| after as f64 - before as f64);
        (self.bytes as f64 - before.bytes as f64, grew)
    }
}

/// Of lines such as `name: 7`.
fn value_of(lines: &str, name: &str) -> Option<u64> {
    let value = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

async fn measure(
    lab: &Lab,
    name: String,
    subject: Option<(Way, Policy)>,
    run: u32,
) -> Result<Record, Trouble> {
    let (server, way) = start(lab, subject).await?;
    let client = server.client(way)?;
    let registering = (0..INSTANCES).map(|n| {
        let client = &client;
        async move { client.contestant.register(SERVICE, &format!("i-{n}"), 1, TTL).await }
    });
    let members: Vec<Arc<dyn Member>> = try_join_all(registering).await?.into_iter().map(Arc::from).collect();
    sleep(SETTLED).await;
    let window = window(lab);
    let before = Written::by(&server).await?;
    sleep(window).await;
    let idle = Written::by(&server).await?;
    let (sent, acknowledged) = beat(&members, window).await;
    // Heartbeats are synced within a second.
    sleep(Duration::from_secs(1)).await;
    let after = Written::by(&server).await?;

    let (idle_bytes, _) = idle.since(before);
    let (written, grew) = after.since(idle);
    let per_1000 = |bytes: f64| bytes * 1e3 / acknowledged as f64;
    let record = Record::new(name, run)
        .with(RENEWALS, acknowledged as f64)
        .with(IDLE, idle_bytes)
        .with(WRITTEN, per_1000((written - idle_bytes).max(0.0)))
        .with(GREW, grew.map_or(f64::NAN, per_1000));
    let proof = format!("{acknowledged} of {sent} heartbeats were acknowledged");
    Ok(record.if_bitten(acknowledged == sent && sent > 0, proof))
}

/// Sends heartbeats for `window`, at a fixed rate, and gives how many were sent and acknowledged.
async fn beat(members: &[Arc<dyn Member>], window: Duration) -> (u64, u64) {
    let end = Instant::now() + window;
    let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut beats = JoinSet::new();
    let mut members = members.iter().cycle();
    let (mut sent, mut acknowledged) = (0, 0);
    while Instant::now() < end {
        ticks.tick().await;
        let Some(member) = members.next().map(Arc::clone) else { break };
        sent += 1;
        beats.spawn(async move { member.renew().await.is_ok() });
        while let Some(beaten) = beats.try_join_next() {
            acknowledged += u64::from(beaten.unwrap_or_default());
        }
    }
    while let Some(beaten) = beats.join_next().await {
        acknowledged += u64::from(beaten.unwrap_or_default());
    }
    (sent, acknowledged)
}

/// Whether the one writes noticeably more than the other.
fn is_more(one: f64, other: f64) -> bool {
    one > MORE * other && one > UNNOTICED
}

fn judge(records: &Records) -> Finding {
    let written = |arm| records.median(arm, WRITTEN);
    let (Some(naive), Some(ours), Some(etcd)) = (written(NAIVE), written(OURS), written(ETCD)) else {
        return Finding::undecided("the heartbeats of not every registry were measured");
    };
    let shown = Shown {
        naive: Some(is_more(naive, etcd)),
        ours: Some(is_more(ours, etcd)),
        etcd: Some(is_more(etcd, naive.min(ours))),
    };
    let [naive_bytes, ours_bytes, etcd_bytes] = [naive, ours, etcd].map(bytes);
    let figure = format!(
        "for 1,000 heartbeats, AOF everysec: naive {naive_bytes}, ours {ours_bytes}, etcd {etcd_bytes}"
    );
    let first = format!(
        "For 1,000 heartbeats Redis with an append-only file synced every second wrote {naive_bytes} to its disk used naively and {ours_bytes} with our backend; etcd wrote {etcd_bytes}."
    );
    let always = written("redis, AOF always").map_or("an unknown amount".to_owned(), bytes);
    let second = format!(
        "With a sync before each answer our backend made it {always}; in return Redis knows after a restart how long each lease still has, while etcd begins all leases anew."
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, second] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    fn verdict(naive: f64, ours: f64, etcd: f64) -> Verdict {
        let record = |arm, bytes| Record::new(arm, 0).with(WRITTEN, bytes);
        judge(&Records::from_iter([record(NAIVE, naive), record(OURS, ours), record(ETCD, etcd)])).verdict
    }

    #[test]
    fn more_is_twice_as_much_and_enough_to_be_noticed() {
        let lots = 1e6;
        assert_eq!(verdict(lots, lots, lots / MORE - 1.0), Verdict::Confirmed);
        assert_eq!(verdict(lots, lots, lots / MORE), Verdict::Refuted);
        assert_eq!(verdict(lots, UNNOTICED, 0.0), Verdict::Depends);
        assert_eq!(verdict(UNNOTICED, UNNOTICED, 0.0), Verdict::Refuted);
    }

    #[test]
    fn etcd_may_write_more_as_well() {
        assert_eq!(verdict(1e6, 1e4, 1e6), Verdict::Refuted);
        assert_eq!(verdict(1e6, 1e6, 4e6), Verdict::Refuted);
    }

    #[test]
    fn what_was_not_measured_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let record = |arm| Record::new(arm, 0).with(WRITTEN, 1.0);
        let spoilt = Records::from_iter([record(NAIVE), record(OURS), record(ETCD).invalid("refused")]);
        assert_eq!(judge(&spoilt).verdict, Verdict::Undecided);
    }

    #[test]
    fn counters_are_found_by_their_name() {
        let counters = "wchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(value_of(counters, "write_bytes"), Some(4096));
        assert_eq!(value_of("aof_current_size:88\r\n", "aof_current_size"), Some(88));
        assert_eq!(value_of(counters, "read_bytes"), None);
    }
}
