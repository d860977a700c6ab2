//! The server's clock steps: the living stay, in every view and lookup, and who is dead goes about when it would have gone.

use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{RegisterOptions, Registrar, Registry, ResetCause, ServiceName};
use registry_redis::RedisRegistry;
use registry_testing::servers::redis::{Persistence, Redis};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Record, instance, instance_of, registrar, registry, server, ttl, user};

const TTL: u64 = 6;
const LIVING: usize = 20;
const CLIENTS: usize = 4;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const STEPS: [i64; 5] = [HOUR, -HOUR, 24 * HOUR, 5 * SECOND, -5 * SECOND];

/// Who looks after the step.
#[derive(Clone, Copy, Debug)]
enum Looking {
    /// A watch that was there before, beside lookups.
    Watch,
    /// Lookups by a client that was there before.
    Old,
    /// Lookups by a client that comes then.
    New,
}

async fn living(redis: &Redis) -> Vec<Registrar> {
    let clients: Vec<_> = (0..CLIENTS).map(|_| registry(redis.address())).collect();
    let serving: Vec<_> = (0..LIVING).map(|n| registrar(&clients[n % CLIENTS], n, TTL)).collect();
    for registrar in &serving {
        timeout(PATIENCE, registrar.registered()).await.unwrap().unwrap();
    }
    serving
}

async fn server_time(redis: &Redis) -> i64 {
    let time = redis.command(&["TIME"]).await.unwrap();
    time.list()[0].text().parse::<i64>().unwrap() * SECOND
}

/// Requires that all the living are listed; whether the dead is.
async fn look(client: &RedisRegistry, what: &str) -> bool {
    let listed = client.lookup(&user()).await.unwrap();
    let missing: Vec<_> = (0..LIVING).filter(|n| listed.get(instance(*n).id()).is_none()).collect();
    assert!(missing.is_empty(), "{what}: the living are not listed: {missing:?}");
    listed.get(instance(LIVING).id()).is_some()
}

async fn stepped(looking: Looking, step: i64) {
    let what = format!("{looking:?}, a step of {step} ms");
    let redis = Redis::start(server().with_clock()).await.unwrap();
    let serving = living(&redis).await;
    let old = registry(redis.address());
    let record = match looking {
        Looking::Watch => Some(Record::start(&old).await),
        Looking::Old => {
            look(&old, &what).await;
            None
        }
        Looking::New => None,
    };
    // As if all had been there for some time: heartbeats are spread over a third of the TTL.
    sleep(ttl(TTL).get() / 2).await;
    let dead = RegisterOptions::new().with_ttl(ttl(TTL));
    let died = Instant::now();
    registry(redis.address()).register(&instance(LIVING), &dead).await.unwrap();
    sleep(Duration::from_secs(2)).await;

    let before = server_time(&redis).await;
    redis.step_clock(step).unwrap();
    let at = Instant::now();
    let moved = server_time(&redis).await - before;
    assert!((moved - step).abs() <= 2 * SECOND, "{what}: the clock moved by {moved} ms");
    let client = match looking {
        Looking::Watch | Looking::Old => old,
        Looking::New => registry(redis.address()),
    };
    let mut gone = None;
    let latest = 2 * ttl(TTL).get() + Duration::from_secs(1);
    while at.elapsed() < latest {
        let begun = Instant::now();
        if look(&client, &what).await {
            assert_eq!(gone, None, "{what}: the dead came back");
        } else if gone.is_none() {
            assert!(Instant::now() >= died + ttl(TTL).get(), "{what}: {:?} after its death", died.elapsed());
            gone = Some(begun);
        }
        sleep(Duration::from_millis(20)).await;
    }
    let gone = gone.unwrap_or_else(|| panic!("{what}: the dead is still listed"));
    eprintln!("{what}: the dead is gone {:?} after its death, {:?} after the step", gone - died, gone - at);
    for registrar in &serving {
        assert!(registrar.state().is_registered(), "{what}: {:?}", registrar.state());
    }
    if let Some(record) = record {
        record.told(|told| {
            let gone: Vec<_> = told.gone.iter().map(|(id, _)| id.clone()).collect();
            assert_eq!(gone, [instance(LIVING).id().to_string()], "{what}");
            assert_eq!(told.resets, [ResetCause::First], "{what}");
        });
    }
}

async fn all_steps(looking: Looking) {
    join_all(STEPS.map(|step| stepped(looking, step))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_clock_takes_no_living_instance_out_of_a_watch() {
    all_steps(Looking::Watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_clock_takes_no_living_instance_out_of_lookups() {
    all_steps(Looking::Old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_clock_takes_no_living_instance_out_of_the_lookups_of_a_newcomer() {
    all_steps(Looking::New).await;
}

/// Leases that have most of their TTL before them, and that a step makes overdue by so little as is usual for those that have ended.
async fn barely_overdue(looking: Looking) {
    const BEFORE: Duration = Duration::from_secs(1);
    const STEP: i64 = 5_300;
    let redis = Redis::start(server().with_clock().with_persistence(Persistence::EveryWrite)).await.unwrap();
    let (owner, old) = (registry(redis.address()), registry(redis.address()));
    let services = [user(), ServiceName::new("other.rpc").unwrap(), ServiceName::new("third.rpc").unwrap()];
    let mut leases = Vec::new();
    for service in &services {
        let options = RegisterOptions::new().with_ttl(ttl(TTL));
        leases.push(owner.register(&instance_of(service, 1), &options).await.unwrap().lease);
        assert_eq!(old.lookup(service).await.unwrap().len(), 1);
    }
    let record = if matches!(looking, Looking::Watch) { Some(Record::start(&old).await) } else { None };
    for lease in &leases {
        owner.keepalive(lease).await.unwrap();
    }
    let renewed = Instant::now();
    sleep(BEFORE).await;
    redis.step_clock(STEP).unwrap();
    let client = if matches!(looking, Looking::New) { registry(redis.address()) } else { old };
    // A watch looks once a second.
    while renewed.elapsed() < BEFORE + Duration::from_secs(2) {
        for service in &services {
            let listed = client.lookup(service).await.unwrap().len();
            assert_eq!(listed, 1, "{looking:?}: {service} after {:?}", renewed.elapsed());
        }
        sleep(Duration::from_millis(20)).await;
    }
    for lease in &leases {
        owner.keepalive(lease).await.unwrap();
    }
    if let Some(record) = record {
        record.told(|told| assert_eq!((told.gone.len(), told.changes.len()), (0, 0), "{:?}", told.gone));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_makes_leases_barely_overdue_does_not_end_them() {
    join_all([Looking::Watch, Looking::Old, Looking::New].map(barely_overdue)).await;
}
