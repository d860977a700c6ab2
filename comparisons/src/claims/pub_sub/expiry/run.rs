//! One arm among some number of other keys.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::time::Instant;

use super::{DIED, DYING, LAG, LIMIT, OTHERS, TOO_EARLY, UNSEEN, WORST, others};
use crate::claims::pub_sub::deadline::Renewal;
use crate::claims::pub_sub::support::{ETCD, KEY, MEMORY, REDIS, etcd, memory, redis};
use crate::claims::pub_sub::watcher::Watcher;
use crate::contestants::{Contestant, NaiveKey, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::measure::median;
use crate::record::Record;

const SERVICE: &str = "dying.rpc";
/// The least that etcd grants.
const TTL: Duration = Duration::from_secs(2);

pub(super) async fn run(lab: &Lab, arm: &str, others: u32, figure: &str) -> Result<Record, Trouble> {
    let limit = Duration::from_secs(lab.by_scale(20, 60));
    let record = Record::new(arm, 0).with(OTHERS, f64::from(others)).with(LIMIT, limit.as_secs_f64());
    match arm {
        MEMORY => {
            let ours = memory();
            let keys = others::in_memory(&ours, others).await?;
            die(record, &ours, keys, limit, figure).await
        }
        ETCD => {
            let server = Etcd::start(lab.etcd_options()).await?;
            let keys = others::in_etcd(&server, others).await?;
            die(record, &etcd([server.endpoint()])?, keys, limit, figure).await
        }
        REDIS | KEY => {
            let server = Redis::start(lab.redis_options().with_args(NaiveKey::ARGS)).await?;
            let keys = others::in_redis(&server, others).await?;
            let contestant: Box<dyn Contestant> = if arm == REDIS {
                Box::new(redis(server.address())?)
            } else {
                Box::new(NaiveKey::new(Place::Server(server.address())))
            };
            die(record, &*contestant, keys, limit, figure).await
        }
        _ => Err(Trouble::failed(format!("no arm {arm}"))),
    }
}

async fn die(
    record: Record,
    contestant: &dyn Contestant,
    keys: u64,
    limit: Duration,
    figure: &str,
) -> Result<Record, Trouble> {
    let ids: Vec<_> = (0..DYING).map(|at| format!("i-{at}")).collect();
    let register = ids.iter().map(|id| contestant.register(SERVICE, id, 1, TTL));
    let members = try_join_all(register).await?;
    let watcher = Watcher::start(contestant, SERVICE).await?;
    let renew = members.iter().map(async |member| {
        let sent = Instant::now();
        member.renew().await.map(|()| Renewal::acknowledged(sent))
    });
    let renewed = join_all(renew).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let listed = watcher.told().view.as_ref().map_or(0, |view| view.len());
    let last = renewed.iter().map(|renewal| renewal.deadline(TTL)).max().unwrap_or_else(Instant::now);
    let within = (last + limit).saturating_duration_since(Instant::now());
    // Those of whom it is not told by then are counted.
    let _ = watcher.until("all have ended", within, |told| told.gone.len() >= ids.len()).await;
    let gone = watcher.told().gone.clone();
    let told = |id: &String| gone.iter().find(|(other, _)| other == id).map(|(_, told)| *told);
    let ends: Vec<_> = renewed.iter().zip(ids.iter().map(told)).collect();
    let unseen = ends.iter().filter(|(_, told)| told.is_none()).count();
    let early = ends
        .iter()
        .filter(|(renewal, told)| told.is_some_and(|told| renewal.is_too_early(TTL, told)))
        .count();
    let limit = limit.as_secs_f64();
    let lag = |(renewal, told): &(&Renewal, Option<Instant>)| {
        told.map_or(limit, |told| renewal.lag(TTL, told).min(limit))
    };
    let lags: Vec<_> = ends.iter().map(lag).collect();
    let middle = median(&lags).unwrap_or(f64::NAN);
    let worst = lags.iter().copied().reduce(f64::max).unwrap_or(f64::NAN);
    let there = record.figure(OTHERS).is_some_and(|others| keys as f64 >= others);
    let proof = format!(
        "{listed} were listed, renewed once more and were not heard of again, beside {keys} other keys"
    );
    Ok(record
        .with(LAG, middle)
        .with(figure, middle)
        .with(WORST, worst)
        .with(DIED, f64::from(DYING))
        .with(UNSEEN, unseen as f64)
        .with(TOO_EARLY, early as f64)
        .if_bitten(listed == ids.len() && there, proof))
}
