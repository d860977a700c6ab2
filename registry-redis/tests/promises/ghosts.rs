//! What must not keep the dead, and what must not end the living: others' clocks, a full memory, crashes in a row, hands in the store.

use std::time::Duration;

use registry_core::{ErrorKind, RegisterOptions, Registry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Persistence, Redis, RedisSentinel, Reply, SentinelOptions};
use tokio::time::{Instant, sleep_until, timeout};

use crate::churn::agree;
use crate::support::{
    PATIENCE, Record, admin, eventually, instance, key, lasting, registrar, registry, server, ttl, user,
};

fn brief(secs: u64) -> RegisterOptions {
    RegisterOptions::new().with_ttl(ttl(secs))
}

/// Heartbeats need no memory, so a full one is no reason to wait for the dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_does_not_keep_the_dead_while_others_beat() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let living = registrar(&client, 1, 3);
    timeout(PATIENCE, living.registered()).await.unwrap().unwrap();
    let dead = client.register(&instance(2), &brief(2)).await.unwrap();
    redis.fill().await.unwrap();
    let end = Instant::now() + dead.ttl.get() + Duration::from_secs(1);
    while Instant::now() < end {
        let refused = client.register(&instance(3), &lasting()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StoreFull);
        sleep_until((Instant::now() + Duration::from_millis(100)).min(end)).await;
    }
    let listed = client.lookup(&user()).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|entry| entry.id().clone()).collect();
    assert_eq!(ids, [instance(1).id().clone()]);
    redis.make_room().await.unwrap();
}

/// Each time the server is away for longer than the TTL, and up in between for less than it takes to beat.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_in_a_row_do_not_end_the_living() {
    let redis = Redis::start(server().with_persistence(Persistence::EveryWrite)).await.unwrap();
    let client = registry(redis.address());
    let living = registrar(&client, 1, 4);
    timeout(PATIENCE, living.registered()).await.unwrap().unwrap();
    let record = Record::start(&client).await;
    for round in 0..2 {
        redis.kill().await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        redis.restart().await.unwrap();
        if round == 0 {
            // Whoever looks first, and dies again before the owner has beaten.
            assert_eq!(registry(redis.address()).lookup(&user()).await.unwrap().len(), 1);
        }
    }
    agree(&record, &client, Instant::now() + Duration::from_secs(3)).await;
    record.told(|told| assert_eq!((told.deletions, told.resets.len()), (0, 1), "{:?}", told.changes));
}

/// Put back by hand: the log has said that it is gone, or that it is something else.
#[tokio::test(flavor = "multi_thread")]
async fn what_other_hands_put_back_is_told() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let lease = client.register(&instance(1), &lasting()).await.unwrap().lease;
    client.register(&instance(2), &lasting()).await.unwrap();
    let record = Record::start(&client).await;
    let instances = key(&user(), "instances");
    let id = instance(1).id().to_string();
    let value = redis.command(&["HGET", &instances, &id]).await.unwrap();
    let Reply::Text(value) = value else { panic!("{value:?}") };
    let seen = async |count: usize| {
        let there = || record.told(|told| (told.view.as_ref()?.len() == count).then_some(()));
        eventually("the view follows", Duration::from_secs(5), async || there()).await;
    };
    redis.command(&["HSET", &instances, &id, "rubbish"]).await.unwrap();
    seen(1).await;
    redis.command(&[b"HSET", instances.as_bytes(), id.as_bytes(), &value]).await.unwrap();
    seen(2).await;
    client.keepalive(&lease).await.unwrap();
    // The whole hash, for a while.
    redis.command(&["RENAME", &instances, "aside"]).await.unwrap();
    seen(0).await;
    redis.command(&["RENAME", "aside", &instances]).await.unwrap();
    seen(2).await;
    agree(&record, &client, Instant::now() + Duration::from_secs(3)).await;
}

/// Edited as text, with the token of its owner left in: it is not what the owner wrote any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_edited_by_hand_is_lost_to_its_owner_and_does_not_end_at_once() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let lease = client.register(&instance(1), &lasting()).await.unwrap().lease;
    let instances = key(&user(), "instances");
    let id = instance(1).id().to_string();
    let value = redis.command(&["HGET", &instances, &id]).await.unwrap().text();
    let json = value.split_once('\n').unwrap().1.replace("\"weight\":100", "\"weight\":7");
    redis.command(&["HSET", &instances, &id, &json]).await.unwrap();
    assert_eq!(client.keepalive(&lease).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    let listed = client.lookup(&user()).await.unwrap();
    assert_eq!(listed.get(instance(1).id()).unwrap().instance().weight().get(), 7);
}

/// Deadlines that were deleted are drawn up anew from what each entry was granted.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_deadlines_a_service_does_not_keep_the_dead() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let dead = client.register(&instance(1), &brief(2)).await.unwrap();
    let record = Record::start(&client).await;
    admin(&redis, &format!("DEL {}", key(&user(), "deadlines"))).await;
    let within = Duration::from_secs(3) + dead.ttl.get() + Duration::from_secs(1);
    eventually("the dead is gone", within, async || {
        record.told(|told| told.view.as_ref().unwrap().is_empty().then_some(()))
    })
    .await;
    assert!(client.lookup(&user()).await.unwrap().is_empty());
}

/// The connection on which writes wait for replicas dies without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_replicas_is_left_when_it_falls_silent() {
    let group = RedisSentinel::start(SentinelOptions::default().with_node(server())).await.unwrap();
    let primary = group.primary().await.unwrap();
    let proxy = Proxy::start(group.node(primary).address()).unwrap();
    let options = RedisOptions::standalone(proxy.address().to_string());
    let client = RedisRegistry::new(options.with_wait(1, Duration::from_millis(500))).unwrap();
    let lease = client.register(&instance(1), &lasting()).await.unwrap().lease;
    proxy.set(Faults::black_hole()).await;
    client.register(&instance(2), &lasting()).await.unwrap_err();
    proxy.heal().await;
    let healed = Instant::now();
    eventually("writes go on", Duration::from_secs(3), async || {
        client.register(&instance(2), &lasting()).await.ok()
    })
    .await;
    eprintln!("writes go on {:?} after healing", healed.elapsed());
    client.keepalive(&lease).await.unwrap();
}
