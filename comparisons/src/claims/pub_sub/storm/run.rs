//! One arm.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::time::{Instant, timeout};

use super::{DIED, LAG, LAST, REGISTERED, SPREAD, TOO_EARLY, UNSEEN, WORST};
use crate::claims::pub_sub::deadline::{Renewal, seconds_after};
use crate::claims::pub_sub::support::{ETCD, KEY, MEMORY, REDIS, etcd, memory, redis};
use crate::claims::pub_sub::watcher::{Told, Watcher};
use crate::contestants::{Contestant, Member, NaiveKey, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::measure::median;
use crate::record::Record;

const SERVICE: &str = "storm.rpc";
/// So many register before it is looked who is to be renewed.
const CHUNK: usize = 250;
/// So many requests are on their way together.
const TOGETHER: usize = 128;
/// For registering all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after the last deadline the watcher waits.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(lab: &Lab, arm: &str) -> Result<Record, Trouble> {
    let (record, wave) = (Record::new(arm, 0), Wave::of(lab));
    match arm {
        MEMORY => die(record, &memory(), wave).await,
        ETCD => {
            let server = Etcd::start(lab.etcd_options()).await?;
            die(record, &etcd([server.endpoint()])?, wave).await
        }
        REDIS => {
            let server = Redis::start(lab.redis_options()).await?;
            die(record, &redis(server.address())?, wave).await
        }
        KEY => {
            let server = Redis::start(lab.redis_options().with_args(NaiveKey::ARGS)).await?;
            die(record, &NaiveKey::new(Place::Server(server.address())), wave).await
        }
        _ => Err(Trouble::failed(format!("no arm {arm}"))),
    }
}

/// How many die together, and how long that is after they were renewed: so long that as many can register and renew meanwhile.
#[derive(Clone, Copy, Debug)]
struct Wave {
    instances: usize,
    ttl: Duration,
}

impl Wave {
    fn of(lab: &Lab) -> Self {
        let (instances, seconds) = lab.by_scale((500, 5), (5_000, 20));
        Self { instances, ttl: Duration::from_secs(seconds) }
    }
}

/// An instance, and when it was renewed last, as its owner knows.
struct Living {
    id: String,
    member: Box<dyn Member>,
    renewed: Renewal,
}

impl Living {
    async fn register(contestant: &dyn Contestant, id: String, ttl: Duration) -> Result<Self, Trouble> {
        let sent = Instant::now();
        let member = contestant.register(SERVICE, &id, 1, ttl).await?;
        Ok(Self { id, member, renewed: Renewal::acknowledged(sent) })
    }

    /// Renews it; if it has ended before, since the machine is busy, registers it again, as its owner would.
    async fn renew(&mut self, contestant: &dyn Contestant, ttl: Duration) -> Result<(), Trouble> {
        let sent = Instant::now();
        match self.member.renew().await {
            Ok(()) => self.renewed = Renewal::acknowledged(sent),
            Err(_) => *self = Self::register(contestant, self.id.clone(), ttl).await?,
        }
        Ok(())
    }
}

/// Renews all that were renewed before `since`.
async fn renew(
    contestant: &dyn Contestant,
    living: &mut [Living],
    since: Instant,
    ttl: Duration,
) -> Result<(), Trouble> {
    let due = living.iter_mut().filter(|living| living.renewed.at() <= since).map(Ok);
    stream::iter(due).try_for_each_concurrent(TOGETHER, |living| living.renew(contestant, ttl)).await
}

/// Registers all, and keeps them alive until all are there.
async fn register(contestant: &dyn Contestant, wave: Wave) -> Result<Vec<Living>, Trouble> {
    let mut living = Vec::with_capacity(wave.instances);
    for first in (0..wave.instances).step_by(CHUNK) {
        let ids = (first..wave.instances.min(first + CHUNK)).map(|at| format!("i-{at:05}"));
        let registering = stream::iter(ids.map(|id| Living::register(contestant, id, wave.ttl)));
        let mut registered: Vec<_> = registering.buffer_unordered(TOGETHER).try_collect().await?;
        living.append(&mut registered);
        let now = Instant::now();
        renew(contestant, &mut living, now.checked_sub(wave.ttl / 3).unwrap_or(now), wave.ttl).await?;
    }
    Ok(living)
}

async fn die(record: Record, contestant: &dyn Contestant, wave: Wave) -> Result<Record, Trouble> {
    let Wave { instances, ttl } = wave;
    let watcher = Watcher::start(contestant, SERVICE).await?;
    let begun = Instant::now();
    let registering = timeout(PATIENCE, register(contestant, wave)).await;
    let late = |_| Trouble::failed(format!("{instances} instances did not register within {PATIENCE:?}"));
    let mut living = registering.map_err(late)??;
    let registered = begun.elapsed();
    renew(contestant, &mut living, Instant::now(), ttl).await?;
    // Whoever was not seen to come cannot be seen to go.
    let all_listed = |told: &Told| told.view.as_ref().is_some_and(|view| view.len() >= instances);
    let listed = watcher.until("all are listed", ttl, all_listed).await.is_ok();
    let deadlines: Vec<_> = living.iter().map(|living| living.renewed.deadline(ttl)).collect();
    let (Some(first), Some(last)) = (deadlines.iter().min().copied(), deadlines.iter().max().copied()) else {
        return Ok(record.invalid("nobody registered"));
    };
    let within = (last + LIMIT).saturating_duration_since(Instant::now());
    // Those of whom it is not told by then are counted.
    let ended = |told: &Told| told.view.as_ref().is_some_and(|view| view.is_empty());
    let _ = watcher.until("all have ended", within, ended).await;
    // Of one that had ended before, the last time counts.
    let gone: BTreeMap<_, _> = watcher.told().gone.iter().cloned().collect();
    let ends: Vec<_> = living.iter().map(|living| (living.renewed, gone.get(&living.id).copied())).collect();
    let unseen = ends.iter().filter(|(_, told)| told.is_none()).count();
    let early = ends
        .iter()
        .filter(|(renewal, told)| told.is_some_and(|told| renewal.is_too_early(ttl, told)))
        .count();
    let limit = LIMIT.as_secs_f64();
    let lag =
        |(renewal, told): &(Renewal, Option<Instant>)| told.map_or(limit, |told| renewal.lag(ttl, told));
    let lags: Vec<_> = ends.iter().map(lag).collect();
    let last_told = ends.iter().map(|(_, told)| told.map_or(limit, |told| seconds_after(last, told)));
    let proof = match listed {
        true => format!("all {instances} were listed at once, renewed, and were not heard of again"),
        false => format!("not all {instances} were listed at once"),
    };
    Ok(record
        .with(DIED, instances as f64)
        .with(LAG, median(&lags).unwrap_or(f64::NAN))
        .with(WORST, lags.iter().copied().reduce(f64::max).unwrap_or(f64::NAN))
        .with(LAST, last_told.reduce(f64::max).unwrap_or(f64::NAN))
        .with(UNSEEN, unseen as f64)
        .with(TOO_EARLY, early as f64)
        .with(SPREAD, (last - first).as_secs_f64())
        .with(REGISTERED, registered.as_secs_f64())
        .if_bitten(listed, proof))
}
