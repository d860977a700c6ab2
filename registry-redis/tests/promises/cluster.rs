//! Redis Cluster: fail-overs of every kind, and slots on the move, under churn.

use std::time::Duration;

use registry_core::{RegisterOptions, Registry, ResetCause};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{ClusterOptions, Failover, RedisCluster};
use tokio::time::{Instant, timeout};

use crate::churn::{Churn, agree};
use crate::support::{PATIENCE, Record, eventually, instance, lasting, registrar, server, ttl, user};

const HEALED: Duration = Duration::from_secs(3);

async fn started() -> (RedisCluster, RedisOptions) {
    let cluster = RedisCluster::start(ClusterOptions::default().with_node(server())).await.unwrap();
    let options = RedisOptions::cluster(cluster.seeds().into_iter().map(|seed| seed.to_string()));
    (cluster, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fail_over_of_any_kind_views_are_what_the_new_primary_has() {
    let (cluster, options) = started().await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let writer = RedisRegistry::new(options).unwrap();
    for how in [Failover::Plain, Failover::Force, Failover::Takeover] {
        let churn = Churn::start(&writer, 3).await;
        let record = Record::start(&registry).await;
        churn.until_written(100).await;
        cluster.wait_in_sync().await.unwrap();
        let old = cluster.owner_of("{user.rpc}").await.unwrap();
        let new = cluster.fail_over(old, how).await.unwrap();
        assert_ne!(old, new);
        let over = Instant::now();
        churn.until_written(churn.written() + 50).await;
        eprintln!("{how:?}: writes go on {:?} after it", over.elapsed());
        cluster.wait_ok().await.unwrap();
        let churned = churn.stop().await;
        agree(&record, &registry, Instant::now() + HEALED).await;
        churned.require_told(&record);
        churned.require_registered(&registry).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_primary_is_killed_its_replica_serves_and_the_registrars_are_back() {
    let (cluster, options) = started().await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let churn = Churn::start(&RedisRegistry::new(options).unwrap(), 3).await;
    let record = Record::start(&registry).await;
    churn.until_written(100).await;
    let old = cluster.owner_of("{user.rpc}").await.unwrap();
    cluster.kill(old).await.unwrap();
    let killed = Instant::now();
    churn.until_written(churn.written() + 50).await;
    eprintln!("writes go on {:?} after the kill, at a node timeout of 1 s", killed.elapsed());
    let churned = churn.stop().await;
    agree(&record, &registry, Instant::now() + HEALED).await;
    churned.require_told(&record);
    churned.require_registered(&registry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_slots_back_and_forth_100_times_deletes_nothing_and_loses_nothing() {
    let (cluster, options) = started().await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let writer = RedisRegistry::new(options).unwrap();
    let idle = registry.register(&instance(50), &lasting()).await.unwrap();
    let churn = Churn::start(&writer, 3).await;
    let record = Record::start(&registry).await;
    let slot = cluster.slot_of("{user.rpc}");
    let begun = Instant::now();
    let written = churn.written();
    for round in 0..100 {
        let owner = cluster.owner_of_slot(slot).await.unwrap();
        let primaries = cluster.primaries().await;
        let to = primaries.into_iter().find(|node| *node != owner).unwrap();
        cluster.migrate_slot(slot, to).await.unwrap();
        if round % 10 == 0 {
            churn.until_written(churn.written() + 5).await;
        }
    }
    eprintln!("100 moves in {:?}, {} writes meanwhile", begun.elapsed(), churn.written() - written);
    assert!(churn.written() > written + 40, "writes went on");
    let churned = churn.stop().await;
    agree(&record, &registry, Instant::now() + HEALED).await;
    record.told(|told| {
        assert_eq!(told.deletions, 0, "nothing has left: {:?}", told.changes);
        assert_eq!(told.resets, [ResetCause::First], "nothing was lost");
    });
    churned.require_told(&record);
    churned.require_registered(&registry).await;
    registry.keepalive(&idle.lease).await.unwrap();
}

/// Found by the chaos suite (redis-cluster under slot-migration, seed 1): each move was a grace for everybody, however soon after the last one.
#[tokio::test(flavor = "multi_thread")]
async fn slots_on_the_move_keep_the_dead_for_no_longer_than_a_ttl() {
    let (cluster, options) = started().await;
    let registry = RedisRegistry::new(options).unwrap();
    let living = registry.register(&instance(1), &lasting()).await.unwrap();
    let dead = registry.register(&instance(50), &RegisterOptions::new().with_ttl(ttl(2))).await.unwrap();
    let slot = cluster.slot_of("{user.rpc}");
    for _ in 0..30 {
        let owner = cluster.owner_of_slot(slot).await.unwrap();
        let to = cluster.primaries().await.into_iter().find(|node| *node != owner).unwrap();
        cluster.migrate_slot(slot, to).await.unwrap();
        // The one that brings the grace, and one that is in time.
        for _ in 0..2 {
            registry.keepalive(&living.lease).await.unwrap();
        }
    }
    let bound = 2 * dead.ttl.get() + registry.guarantees().expiry_bound;
    eventually("the dead one is gone", bound, async || {
        let listed = registry.lookup(&user()).await.unwrap();
        listed.get(instance(50).id()).is_none().then_some(())
    })
    .await;
    registry.keepalive(&living.lease).await.unwrap();
}

/// Some keys of a service here, some there: nothing can be done until they are together, and nothing goes wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_keys_are_apart_is_unavailable_and_whole_again_afterwards() {
    let (cluster, options) = started().await;
    let registry = RedisRegistry::new(options.with_request_timeout(Duration::from_secs(1))).unwrap();
    let serving = registrar(&registry, 1, 30);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;
    let slot = cluster.slot_of("{user.rpc}");
    let owner = cluster.owner_of_slot(slot).await.unwrap();
    let to = cluster.primaries().await.into_iter().find(|node| *node != owner).unwrap();
    let migration = cluster.begin_migration(slot, to).await.unwrap();
    assert_eq!(cluster.move_keys(&migration, 2).await.unwrap(), 2);
    let refused = registry.lookup(&user()).await.unwrap_err();
    assert!(refused.to_string().contains("TRYAGAIN"), "{refused}");
    eventually("the watch says that it is stale", PATIENCE, async || {
        record.told(|told| told.stale.then_some(()))
    })
    .await;
    cluster.move_keys(&migration, usize::MAX).await.unwrap();
    cluster.finish_migration(&migration).await.unwrap();
    agree(&record, &registry, Instant::now() + HEALED).await;
    record.told(|told| assert_eq!((told.deletions, told.resets.len()), (0, 1)));
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 1);
}
