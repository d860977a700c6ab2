//! The server is away for longer than leases last: nobody could renew, so the living stay, and who is dead goes within two TTLs.

use std::time::Duration;

use registry_core::{ErrorKind, RegisterOptions, Registry, ResetCause};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Persistence, Redis};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Record, eventually, instance, registrar, registry, server, ttl, user};

const TTL: u64 = 3;
/// Longer, by a TTL and more, than any call waits.
const AWAY: Duration = Duration::from_secs(10);
const LIVING: usize = 20;

async fn away(watched: bool, fault: impl AsyncFn(&Redis)) {
    let redis = Redis::start(server().with_persistence(Persistence::EveryWrite)).await.unwrap();
    let (owner, watching) = (registry(redis.address()), registry(redis.address()));
    let serving: Vec<_> = (0..LIVING).map(|n| registrar(&owner, n, TTL)).collect();
    for registrar in &serving {
        timeout(PATIENCE, registrar.registered()).await.unwrap().unwrap();
    }
    let record = if watched { Some(Record::start(&watching).await) } else { None };
    let dead = instance(LIVING);
    let options = RegisterOptions::new().with_ttl(ttl(TTL));
    let dying = owner.register(&dead, &options).await.unwrap();
    // As if all had been there for some time: Redis knows the script of heartbeats.
    owner.keepalive(&dying.lease).await.unwrap();
    let died = Instant::now();

    fault(&redis).await;
    let up = Instant::now();
    assert!(died.elapsed() > AWAY, "the fault did not bite");
    let newcomer = registry(redis.address());
    let latest = 2 * ttl(TTL).get() + Duration::from_secs(1);
    let mut gone = None;
    while up.elapsed() < latest {
        let listed = newcomer.lookup(&user()).await.unwrap();
        let missing: Vec<_> = (0..LIVING).filter(|n| listed.get(instance(*n).id()).is_none()).collect();
        assert!(missing.is_empty(), "not listed {:?} after the server was there: {missing:?}", up.elapsed());
        if listed.get(dead.id()).is_none() {
            gone.get_or_insert(up.elapsed());
        }
        sleep(Duration::from_millis(20)).await;
    }
    eprintln!("who is dead is gone {:?} after the server was there", gone.expect("the dead is gone"));
    let all = async || serving.iter().all(|registrar| registrar.state().is_registered()).then_some(());
    eventually("the registrars are registered", PATIENCE, all).await;
    let Some(record) = record else { return };
    record.until_equal(&newcomer, Instant::now() + PATIENCE).await;
    record.told(|told| {
        let gone: Vec<_> = told.gone.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(gone, [dead.id().as_str()]);
        assert_eq!(told.resets, [ResetCause::First]);
    });
}

async fn down(redis: &Redis) {
    redis.kill().await.unwrap();
    sleep(AWAY).await;
    redis.restart().await.unwrap();
}

async fn still(redis: &Redis) {
    redis.pause().await.unwrap();
    sleep(AWAY).await;
    redis.resume().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_down_for_longer_than_a_ttl_keeps_the_living() {
    tokio::join!(away(true, down), away(false, down));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_for_longer_than_a_ttl_keeps_the_living() {
    tokio::join!(away(true, still), away(false, still));
}

/// The only sign that a newcomer could go by.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_nobody_waits_for_any_more_tells_that_the_server_stood_still() {
    let redis = Redis::start(server()).await.unwrap();
    let options = RedisOptions::standalone(redis.address().to_string());
    let owner = RedisRegistry::new(options.with_request_timeout(Duration::from_millis(500))).unwrap();
    let options = RegisterOptions::new().with_ttl(ttl(TTL));
    let lease = owner.register(&instance(1), &options).await.unwrap().lease;
    owner.keepalive(&lease).await.unwrap();
    redis.pause().await.unwrap();
    let error = owner.keepalive(&lease).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    sleep(ttl(TTL).get() + Duration::from_secs(2)).await;
    redis.resume().await.unwrap();
    let newcomer = registry(redis.address());
    assert_eq!(newcomer.lookup(&user()).await.unwrap().len(), 1, "the first lookup");
    owner.keepalive(&lease).await.unwrap();
}
