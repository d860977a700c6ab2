//! One arm.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::time::{Instant, timeout};

use super::{DIED, LAG, LAST, REGISTERED, SPREAD, UNSEEN, WORST};
use crate::claims::pub_sub::support::{ETCD, KEY, MEMORY, REDIS, etcd, memory, redis};
use crate::claims::pub_sub::watcher::{Told, Watcher};
use crate::contestants::{Contestant, Member, NaiveKey, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::measure::median;
use crate::record::Record;

const SERVICE: &str = "storm.rpc";
const TTL: Duration = Duration::from_secs(5);
/// Whoever was not renewed for so long is renewed while others still register.
const RENEW_AFTER: Duration = Duration::from_millis(1_500);
/// So many register before it is looked who is to be renewed.
const CHUNK: usize = 250;
/// So many requests are on their way together.
const TOGETHER: usize = 128;
/// For registering all.
const PATIENCE: Duration = Duration::from_secs(60);
/// For the watcher to be told of all, so that it is done before the first ends.
const LISTED: Duration = Duration::from_millis(4_500);
/// How long after the last deadline the watcher waits.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(lab: &Lab, arm: &str) -> Result<Record, Trouble> {
    let (record, instances) = (Record::new(arm, 0), lab.by_scale(500, 5_000));
    match arm {
        MEMORY => die(record, &memory(), instances).await,
        ETCD => {
            let server = Etcd::start(lab.etcd_options()).await?;
            die(record, &etcd([server.endpoint()])?, instances).await
        }
        REDIS => {
            let server = Redis::start(lab.redis_options()).await?;
            die(record, &redis(server.address())?, instances).await
        }
        KEY => {
            let server = Redis::start(lab.redis_options().with_args(NaiveKey::ARGS)).await?;
            die(record, &NaiveKey::new(Place::Server(server.address())), instances).await
        }
        _ => Err(Trouble::failed(format!("no arm {arm}"))),
    }
}

/// An instance, and when it was renewed last, as its owner knows.
struct Living {
    id: String,
    member: Box<dyn Member>,
    renewed: Instant,
}

impl Living {
    async fn register(contestant: &dyn Contestant, at: usize) -> Result<Self, Trouble> {
        let id = format!("i-{at:05}");
        let member = contestant.register(SERVICE, &id, 1, TTL).await?;
        Ok(Self { id, member, renewed: Instant::now() })
    }

    async fn renew(&mut self) -> Result<(), Trouble> {
        self.member.renew().await?;
        self.renewed = Instant::now();
        Ok(())
    }
}

/// Renews all that were renewed before `since`.
async fn renew(living: &mut [Living], since: Instant) -> Result<(), Trouble> {
    let due = living.iter_mut().filter(|living| living.renewed <= since).map(Ok);
    stream::iter(due).try_for_each_concurrent(TOGETHER, Living::renew).await
}

/// Registers all, and keeps them alive until all are there.
async fn register(contestant: &dyn Contestant, instances: usize) -> Result<Vec<Living>, Trouble> {
    let mut living = Vec::with_capacity(instances);
    for first in (0..instances).step_by(CHUNK) {
        let chunk = first..instances.min(first + CHUNK);
        let registering = stream::iter(chunk.map(|at| Living::register(contestant, at)));
        let mut registered: Vec<_> = registering.buffer_unordered(TOGETHER).try_collect().await?;
        living.append(&mut registered);
        let now = Instant::now();
        renew(&mut living, now.checked_sub(RENEW_AFTER).unwrap_or(now)).await?;
    }
    Ok(living)
}

async fn die(record: Record, contestant: &dyn Contestant, instances: usize) -> Result<Record, Trouble> {
    let watcher = Watcher::start(contestant, SERVICE).await?;
    let begun = Instant::now();
    let registering = timeout(PATIENCE, register(contestant, instances)).await;
    let mut living = registering.map_err(|_| {
        Trouble::failed(format!("{instances} instances did not register within {PATIENCE:?}"))
    })??;
    let registered = begun.elapsed();
    renew(&mut living, Instant::now()).await?;
    // Whoever was not seen to come cannot be seen to go.
    let all_listed = |told: &Told| told.view.as_ref().is_some_and(|view| view.len() >= instances);
    let _ = watcher.until("all are listed", LISTED, all_listed).await;
    let listed = watcher.told().view.as_ref().map_or(0, |view| view.len());
    let early = watcher.told().gone.len();
    let deadlines: Vec<_> = living.iter().map(|living| living.renewed + TTL).collect();
    let (Some(first), Some(last)) = (deadlines.iter().min().copied(), deadlines.iter().max().copied()) else {
        return Ok(record.invalid("nobody registered"));
    };
    let within = (last + LIMIT).saturating_duration_since(Instant::now());
    // Those of whom it is not told by then are counted.
    let _ = watcher.until("all have ended", within, |told| told.gone.len() >= early + instances).await;
    let gone: std::collections::BTreeMap<_, _> = watcher.told().gone.iter().cloned().collect();
    let lag = |(living, deadline): (&Living, &Instant)| {
        Some(gone.get(&living.id)?.saturating_duration_since(*deadline).as_secs_f64())
    };
    let lags: Vec<_> = living.iter().zip(&deadlines).map(lag).collect();
    let unseen = lags.iter().filter(|lag| lag.is_none()).count();
    let lags: Vec<_> = lags.into_iter().map(|lag| lag.unwrap_or(LIMIT.as_secs_f64())).collect();
    let last_told = gone.values().max().copied().unwrap_or(last);
    let proof = format!(
        "{listed} of {instances} were listed, {early} had ended before; then none was heard of again"
    );
    Ok(record
        .with(DIED, instances as f64)
        .with(LAG, median(&lags).unwrap_or(f64::NAN))
        .with(WORST, lags.iter().copied().fold(0.0, f64::max))
        .with(LAST, last_told.saturating_duration_since(last).as_secs_f64())
        .with(UNSEEN, unseen as f64)
        .with(SPREAD, (last - first).as_secs_f64())
        .with(REGISTERED, registered.as_secs_f64())
        .if_bitten(listed == instances && early == 0, proof))
}
