//! One restart.

use std::time::Duration;

use registry_core::{Cursor, ResetCause, ServiceName, WatchEvent};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use registry_testing::servers::until;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};

use super::remaining::remaining;
use super::{CONTINUES, EXPIRED, End, LOST, MISSED, OF, RESUMED, RUNS, SHORT_OF, TOLD, TROUBLES, TTL_ERROR};
use crate::claims::persistence::subjects::{Client, Policy, Server, Way};
use crate::contestants::Member;
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::measure::median;
use crate::record::Record;

/// What the instances with 10 s and more are of, and what those are of whose time to live is no longer than the outage.
const LONG: &str = "long.rpc";
const SHORT: &str = "short.rpc";
const LONG_LIVED: u32 = 15;
const SHORT_LIVED: u32 = 5;
const LEAST: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(3_500);
const SHORT_TTL: Duration = Duration::from_secs(3);
/// How old the long leases are when the server ends, so that what is left of them differs from what was granted.
const AGE: Duration = Duration::from_secs(2);
const OUTAGE: Duration = Duration::from_secs(3);
/// How many instances change after the cursor is taken, and how many are registered as soon as the server is there again.
const CHANGES: u32 = 5;
/// How long a newcomer may take, and a watch that was taken up again, to tell of the last of them.
const RESUMES: Duration = Duration::from_secs(5);

/// What is restarted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) way: Way,
    /// None on etcd.
    pub(super) policy: Option<Policy>,
    pub(super) end: End,
}

impl Subject {
    async fn start(self, lab: &Lab) -> Result<Server, Trouble> {
        Ok(match self.policy {
            Some(policy) => {
                Server::Redis(Box::new(Redis::start(self.way.on(policy.on(lab.redis_options()))).await?))
            }
            None => Server::Etcd(Box::new(Etcd::start(lab.etcd_options()).await?)),
        })
    }
}

struct Listed {
    id: String,
    ttl: Duration,
    /// When its last registration or heartbeat was invoked.
    since: Instant,
    member: Box<dyn Member>,
}

async fn list(client: &Client, service: &str, id: String, ttl: Duration) -> Result<Listed, Trouble> {
    let since = Instant::now();
    let member = client.contestant.register(service, &id, 0, ttl).await?;
    Ok(Listed { id, ttl, since, member })
}

/// Registers somebody new, who tries until it succeeds: a client may find only now that its connection is gone.
async fn newcomer(client: &Client, n: u32) -> Result<(), Trouble> {
    let registered = until("a newcomer is registered", RESUMES, || async {
        list(client, LONG, format!("n-{n}"), LEAST * 6).await.ok()
    });
    Ok(registered.await.map(drop)?)
}

/// Lists, restarts, and looks what is there.
pub(super) async fn restart(lab: &Lab, name: String, subject: Subject, run: u32) -> Result<Record, Trouble> {
    let server = subject.start(lab).await?;
    let (owner, looking) = (server.client(subject.way)?, server.client(subject.way)?);
    let watcher = looking.watch(LONG).await?;
    let (mut long, mut short) = (Vec::new(), Vec::new());
    for n in 0..LONG_LIVED {
        long.push(list(&owner, LONG, format!("l-{n}"), LEAST + STEP * n).await?);
    }
    sleep(AGE).await;
    let cursor = cursor(&owner).await?;
    for (value, listed) in (1..).zip(long.iter_mut().take(CHANGES as usize)) {
        set(listed, value, subject.way).await?;
    }
    let before = self::cursor(&owner).await?;
    // Last, so that they are alive when the server ends, however slow the machine is.
    for n in 0..SHORT_LIVED {
        short.push(list(&owner, SHORT, format!("s-{n}"), SHORT_TTL).await?);
    }
    let pid = server.process().pid();

    let ended = Instant::now();
    match subject.end {
        End::Stopped => server.stop().await?,
        End::Killed => server.process().kill().await?,
    }
    sleep(OUTAGE).await;
    server.restart().await?;
    let down = ended.elapsed();

    let (there, there_short) = (looking.listed(LONG).await?, looking.listed(SHORT).await?);
    let long_kept: Vec<_> = long.iter().filter(|listed| there.contains_key(&listed.id)).collect();
    let short_kept = short.iter().filter(|listed| there_short.contains_key(&listed.id)).count();
    let newcomers = (0..CHANGES).map(|n| newcomer(&owner, n));
    try_join_all(newcomers).await?;
    let errors = long_kept.iter().map(|listed| ttl_error(&server, subject.way, listed));
    let errors: Vec<f64> = try_join_all(errors).await?.into_iter().flatten().collect();
    let after = self::cursor(&owner).await?;
    let differences = looking.differences(LONG, &watcher).await?;
    let told = watcher.was_told_of_a_gap(ended);

    let continues = before
        .zip(after)
        .map(|(before, after)| before.epoch() == after.epoch() && after.revision() >= before.revision());
    let resumed = match cursor {
        Some(cursor) => Some(resumes(&looking, cursor).await?),
        None => None,
    };
    let as_number = |told: Option<bool>| told.map_or(f64::NAN, f64::from);
    let record = Record::new(name, run)
        .with(RUNS, 1.0)
        .with(OF, long.len() as f64)
        .with(LOST, (long.len() - long_kept.len()) as f64)
        .with(SHORT_OF, short.len() as f64)
        .with(EXPIRED, (short.len() - short_kept) as f64)
        .with(TTL_ERROR, median(&errors).unwrap_or(f64::NAN))
        .with(CONTINUES, as_number(continues))
        .with(RESUMED, as_number(resumed))
        .with(TOLD, f64::from(told))
        .with(TROUBLES, watcher.troubles(ended) as f64)
        .with("watcher_differs", differences as f64)
        .with(MISSED, if told { 0.0 } else { differences as f64 });
    let other = server.process().pid() != pid;
    let proof = format!(
        "the server was down for {:.1} s and is {} process",
        down.as_secs_f64(),
        if other { "another" } else { "the same" }
    );
    Ok(record.if_bitten(other && down >= OUTAGE, proof))
}

/// A change, which on a naive registry is also a heartbeat of a key.
async fn set(listed: &mut Listed, value: u64, way: Way) -> Result<(), Trouble> {
    if way == Way::NaiveKey {
        listed.since = Instant::now();
    }
    listed.member.set(value).await
}

/// Where a watch could be taken up again, if there is such a thing.
async fn cursor(client: &Client) -> Result<Option<Cursor>, Trouble> {
    match &client.registry {
        Some(registry) => Ok(Some(registry.lookup(&ServiceName::new(LONG)?).await?.cursor())),
        None => Ok(None),
    }
}

/// By how much more it has left than if time had gone on.
async fn ttl_error(server: &Server, way: Way, listed: &Listed) -> Result<Option<f64>, Trouble> {
    let left = remaining(server, way, LONG, &listed.id).await?;
    let expected = listed.ttl.as_secs_f64() - listed.since.elapsed().as_secs_f64();
    Ok(left.map(|left| left - expected))
}

/// Whether a watch that is taken up from `cursor` comes to the last newcomer without starting anew.
async fn resumes(client: &Client, cursor: Cursor) -> Result<bool, Trouble> {
    let Some(registry) = &client.registry else { return Ok(false) };
    let mut watch = registry.watch(&ServiceName::new(LONG)?, Some(cursor));
    let mut waiting: Vec<String> = (0..CHANGES).flat_map(|n| [format!("l-{n}"), format!("n-{n}")]).collect();
    let came = timeout(RESUMES, async {
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Reset { cause, .. } => return cause == ResetCause::First,
                WatchEvent::Changes(batch) => {
                    waiting.retain(|id| !batch.changes.iter().any(|change| change.id().as_str() == id));
                    if waiting.is_empty() {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    });
    Ok(came.await.unwrap_or(false))
}
