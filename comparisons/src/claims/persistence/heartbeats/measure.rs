//! How much a server writes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{GREW, IDLE, RENEWALS, WRITTEN, window};
use crate::claims::persistence::subjects::{Policy, Server, Way};
use crate::contestants::Member;
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

const SERVICE: &str = "beating.rpc";
const INSTANCES: u32 = 100;
const TTL: Duration = Duration::from_secs(120);
/// As from 2,000 instances with a TTL of 30 s.
const PER_SECOND: u32 = 200;
/// After the registrations, until what they make the server write is written: a background rewrite, the pages of a sync.
pub(super) const SETTLED: Duration = Duration::from_secs(3);

/// None on etcd.
async fn start(lab: &Lab, subject: Option<(Way, Policy)>) -> Result<(Server, Way), Trouble> {
    Ok(match subject {
        Some((way, policy)) => {
            let options = way.on(policy.on(lab.redis_options())).with_data_in(&lab.disk);
            (Server::Redis(Box::new(Redis::start(options).await?)), way)
        }
        None => {
            let mut options = lab.etcd_options().with_data_in(&lab.disk);
            options.no_fsync = false;
            (Server::Etcd(Box::new(Etcd::start(options).await?)), Way::Ours)
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

/// Lets a hundred instances beat, and looks what is written for it.
pub(super) async fn measure(
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
    let proof = format!(
        "{acknowledged} of {sent} heartbeats were acknowledged, and {} bytes were counted as written before",
        before.bytes
    );
    // A file system of which the kernel counts nothing, such as one in memory, must not look like a server that writes nothing.
    Ok(record.if_bitten(acknowledged == sent && sent > 0 && before.bytes > 0, proof))
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

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn counters_are_found_by_their_name() {
        let counters = "wchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(value_of(counters, "write_bytes"), Some(4096));
        assert_eq!(value_of("aof_current_size:88\r\n", "aof_current_size"), Some(88));
        assert_eq!(value_of(counters, "read_bytes"), None);
    }
}
