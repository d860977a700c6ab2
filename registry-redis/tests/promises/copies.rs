//! Writes by two clients under one lease, and by one that left and came back; and a large service that is read while its server changes.

use std::time::Duration;

use registry_core::{OwnerToken, Registry};
use registry_redis::{AddressMap, RedisOptions, RedisRegistry};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Redis, RedisSentinel, SentinelOptions};
use tokio::time::Instant;

use crate::churn::agree;
use crate::support::{PATIENCE, Record, eventually, instance, lasting, registry, server, user, weighing};

async fn weight(registry: &RedisRegistry, n: usize) -> Option<u32> {
    let listed = registry.lookup(&user()).await.unwrap();
    listed.get(instance(n).id()).map(|entry| entry.instance().weight().get())
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_by_two_clients_under_one_lease_are_all_done() {
    let redis = Redis::start(server()).await.unwrap();
    let (first, second) = (registry(redis.address()), registry(redis.address()));
    let lease = first.register(&instance(1), &lasting()).await.unwrap().lease;
    let record = Record::start(&first).await;
    let mut revisions = Vec::new();
    for (turn, client) in [&second, &first, &first, &second, &first].into_iter().enumerate() {
        let weight_now = 10 + u32::try_from(turn).unwrap();
        revisions.push(client.update(&lease, &weighing(1, weight_now)).await.unwrap());
        assert_eq!(weight(&second, 1).await, Some(weight_now));
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    record.until_revision(*revisions.last().unwrap(), PATIENCE).await;
    record.require_whole(&revisions);
}

/// After leaving, the same token registers again: its updates are later than those before.
#[tokio::test(flavor = "multi_thread")]
async fn updates_after_leaving_and_coming_back_are_done() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let options = lasting().with_token(OwnerToken::random());
    for round in 0..3 {
        let lease = client.register(&instance(1), &options).await.unwrap().lease;
        for turn in 0..4 {
            client.update(&lease, &weighing(1, round * 10 + turn)).await.unwrap();
            assert_eq!(weight(&client, 1).await, Some(round * 10 + turn));
        }
        client.deregister(&lease).await.unwrap();
    }
}

/// Pages of a hash are told apart by cursors that mean something to one process only.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_service_that_is_read_while_its_primary_is_replaced_is_read_whole() {
    const INSTANCES: usize = 2_000;
    let group = RedisSentinel::start(SentinelOptions::default().with_node(server())).await.unwrap();
    let sentinels = group.sentinel_addresses().into_iter().map(|address| address.to_string());
    let old = group.primary().await.unwrap();
    let proxy = Proxy::start(group.node(old).address()).unwrap();
    let (through, port) = (proxy.address(), group.node(old).address().port());
    // Only the way to the old primary is slow, so that the fail-over comes between two pages.
    let map = AddressMap::new(move |_, announced| {
        (announced == port).then(|| (through.ip().to_string(), through.port()))
    });
    let options = RedisOptions::sentinel(sentinels, group.service_name()).with_page(50);
    let options =
        options.with_request_timeout(Duration::from_secs(20)).with_connect_timeout(Duration::from_secs(5));
    let direct = RedisRegistry::new(options.clone()).unwrap();
    for n in 0..INSTANCES {
        direct.register(&instance(n), &lasting()).await.unwrap();
    }
    group.wait_in_sync().await.unwrap();
    let reader = RedisRegistry::new(options.with_address_map(map)).unwrap();
    reader.inspect().await.unwrap();
    proxy.set(Faults::default().with_latency(Duration::from_millis(40))).await;
    let before = proxy.counters().to_client.delivered;
    let reading = tokio::spawn({
        let reader = reader.clone();
        async move { reader.lookup(&user()).await }
    });
    eventually("some pages were read", PATIENCE, async || {
        (proxy.counters().to_client.delivered > before + 50_000).then_some(())
    })
    .await;
    assert!(!reading.is_finished());
    let killed = Instant::now();
    group.kill(old).await.unwrap();
    group.wait_new_primary(old).await.unwrap();
    eprintln!("replaced {:?} after it was killed", killed.elapsed());
    match reading.await.unwrap() {
        Ok(listed) => assert_eq!(listed.len(), INSTANCES),
        Err(error) => eprintln!("told: {error}"),
    }
    let record = Record::start(&reader).await;
    agree(&record, &direct, Instant::now() + Duration::from_secs(5)).await;
    record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), INSTANCES));
}
