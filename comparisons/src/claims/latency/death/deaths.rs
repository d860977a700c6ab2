//! Processes die, and watchers notice, or do not.

use std::time::Duration;

use registry_core::{RegisterOptions, Registry, Ttl};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::until;
use tokio::time::{Instant, sleep_until};

use super::processes::{Process, Servers};
use super::{AFTER, DEATHS, LEAST_TTL, LIMIT, MAX, MEDIAN, NEVER, OVER, TTL};
use crate::claims::clustering::view::View;
use crate::contestants::instance;
use crate::experiment::Trouble;
use crate::instance::{Kind, client};
use crate::measure::median;
use crate::record::Record;

/// How many die in one run, and how many watch.
const DYING: usize = 10;
const WATCHERS: usize = 3;
/// How long it may take until all are listed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts instances, kills all but one, each at a time of its own, and says how long it takes until none of the watchers lists them.
pub(super) async fn deaths(
    arm: &str,
    kind: Kind,
    servers: &Servers,
    run: u32,
    mut random: fastrand::Rng,
) -> Result<Record, Trouble> {
    let (at, service) = (servers.at(), format!("death-{run}"));
    let start = |id: String| Process::start(kind, &at, &service, id, TTL);
    // Who goes on, as the other instances of a service do when some die.
    let _healthy = start("healthy".to_owned())?;
    let mut dying = (0..DYING).map(|index| start(format!("dying-{index}"))).collect::<Result<Vec<_>, _>>()?;
    let mut views = Vec::new();
    for _ in 0..WATCHERS {
        views.push(View::of(&*client(kind, &at)?, &service, PATIENCE).await?);
    }
    let listed = |view: &View| view.look(|told| told.listed.len()) == DYING + 1;
    let all = || async { views.iter().all(listed).then_some(()) };
    until("all instances are listed by all watchers", PATIENCE, all).await?;

    // When in the time between two heartbeats it dies is left to chance.
    let begun = Instant::now();
    let mut when: Vec<Duration> = (0..DYING).map(|_| TTL.mul_f64(random.f64())).collect();
    when.sort();
    let mut killed = Vec::new();
    let mut by_signal = true;
    for (process, when) in dying.iter_mut().zip(when) {
        sleep_until(begun + when).await;
        let (at, signalled) = process.kill().await?;
        by_signal &= signalled;
        killed.push((process.id.clone(), at));
    }
    let gone = |id: &str| -> Option<Instant> {
        let left = views.iter().map(|view| view.look(|told| told.left.get(id).copied()));
        left.collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let all = || async { killed.iter().all(|(id, _)| gone(id).is_some()).then_some(()) };
    // Whoever is still listed after that is counted.
    let _ = until("nobody lists the dead", LIMIT, all).await;

    let after = killed.iter().filter_map(|(id, at)| Some(gone(id)?.saturating_duration_since(*at)));
    let mut after: Vec<f64> = after.map(|after| after.as_secs_f64()).collect();
    after.sort_by(f64::total_cmp);
    let max = after.last().copied();
    let record = Record::new(arm, run)
        .with(DEATHS, killed.len() as f64)
        .with(NEVER, (killed.len() - after.len()) as f64)
        .with(MEDIAN, median(&after).unwrap_or(f64::NAN))
        .with(MAX, max.unwrap_or(f64::NAN))
        .with(OVER, max.map_or(f64::NAN, |max| (max - TTL.as_secs_f64()).max(0.0)))
        .with(LEAST_TTL, least_ttl(kind, &at).await?.map_or(f64::NAN, |ttl| ttl.as_secs_f64()))
        .with_series(AFTER, after.iter().map(|after| [*after, 1.0]));
    Ok(record.if_bitten(by_signal, format!("{DYING} processes were ended by SIGKILL")))
}

/// What is granted to who asks for the least.
async fn least_ttl(kind: Kind, at: &[String]) -> Result<Option<Duration>, Trouble> {
    let registry: Box<dyn Registry> = match kind {
        Kind::Etcd => Box::new(EtcdRegistry::new(EtcdOptions::new(at.iter().cloned()))?),
        Kind::Redis => {
            let server = at.first().cloned().unwrap_or_default();
            Box::new(RedisRegistry::new(RedisOptions::standalone(server))?)
        }
        Kind::NaiveHash | Kind::NaiveKey => return Ok(None),
    };
    let options = RegisterOptions::new().with_ttl(Ttl::MIN);
    let registered = registry.register(&instance("least", "least", 1)?, &options).await?;
    registry.deregister(&registered.lease).await?;
    Ok(Some(registered.ttl.get()))
}
