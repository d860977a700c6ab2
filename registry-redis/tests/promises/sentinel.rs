//! Fail-overs under Sentinels, under churn: views come to show what the new primary has, and say so where something was lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use registry_core::{
    ErrorKind, OnConflict, Registrar, RegistrarOptions, RegistrarState, Registry, ResetCause, WhenFenced,
};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{RedisSentinel, Reply, SentinelOptions};
use tokio::time::{Instant, timeout};

use crate::churn::{Churn, agree};
use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, registrar, server, ttl, user, weighing,
};

/// How soon after a fail-over all must be right.
const HEALED: Duration = Duration::from_secs(3);

async fn group(options: SentinelOptions) -> (RedisSentinel, RedisOptions) {
    let group = RedisSentinel::start(options.with_node(server())).await.unwrap();
    let sentinels = group.sentinel_addresses().into_iter().map(|address| address.to_string());
    let options = RedisOptions::sentinel(sentinels, group.service_name());
    (group, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_planned_fail_over_views_are_what_the_new_primary_has() {
    let (group, options) = group(SentinelOptions::default()).await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let churn = Churn::start(&RedisRegistry::new(options).unwrap(), 4).await;
    let record = Record::start(&registry).await;
    churn.until_written(100).await;
    let old = group.primary().await.unwrap();
    let new = group.fail_over().await.unwrap();
    assert_ne!(old, new);
    let over = Instant::now();
    churn.until_written(churn.written() + 50).await;
    eprintln!("writes go on {:?} after the fail-over", over.elapsed());
    let churned = churn.stop().await;
    agree(&record, &registry, over + HEALED.max(over.elapsed() + HEALED)).await;
    churned.require_told(&record);
    churned.require_registered(&registry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_primary_is_killed_the_registrars_are_back_within_their_ttl() {
    let (group, options) = group(SentinelOptions::default()).await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let churn = Churn::start(&RedisRegistry::new(options).unwrap(), 4).await;
    let record = Record::start(&registry).await;
    churn.until_written(100).await;
    let old = group.primary().await.unwrap();
    group.wait_in_sync().await.unwrap();
    group.kill(old).await.unwrap();
    group.wait_new_primary(old).await.unwrap();
    let over = Instant::now();
    churn.until_written(churn.written() + 50).await;
    eprintln!("writes go on {:?} after there is a new primary", over.elapsed());
    let churned = churn.stop().await;
    agree(&record, &registry, Instant::now() + HEALED).await;
    churned.require_told(&record);
    churned.require_registered(&registry).await;
    group.restart(old).await.unwrap();
    group.wait_in_sync().await.unwrap();
    agree(&record, &registry, Instant::now() + HEALED).await;
}

/// Replicas are cut off, the primary goes on acknowledging, and then it dies: what it acknowledged is lost for certain.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_fail_over_has_lost_is_told_by_a_reset_and_registered_again() {
    let (group, options) = group(SentinelOptions::default().with_replica_proxies()).await;
    let registry = RedisRegistry::new(options.clone()).unwrap();
    let kept = registry.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;
    group.wait_in_sync().await.unwrap();
    assert!(group.partition_replicas());
    let lost = registry.register(&instance(2), &lasting()).await.unwrap();
    let serving = registrar(&registry, 3, 5);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let updated = registry.update(&kept.lease, &weighing(1, 7)).await.unwrap();
    record.until_revision(updated, PATIENCE).await;
    let old = group.primary().await.unwrap();
    group.kill(old).await.unwrap();
    group.heal();
    group.wait_new_primary(old).await.unwrap();
    let over = Instant::now();
    // Other changes come to have the revisions of those that were lost.
    let other = RedisRegistry::new(options).unwrap();
    eventually("the registry writes again", PATIENCE, async || {
        other.register(&instance(4), &lasting()).await.ok()
    })
    .await;
    eventually("the registrar is back", Duration::from_secs(5), async || {
        let listed = other.lookup(&user()).await.ok()?;
        listed.get(instance(3).id()).map(drop)
    })
    .await;
    agree(&record, &other, over + HEALED + Duration::from_secs(5)).await;
    record.told(|told| {
        let view = told.view.as_ref().unwrap();
        assert!(view.get(instance(2).id()).is_none(), "it was lost: the fault has bitten");
        assert_eq!(view.get(instance(1).id()).unwrap().instance(), &instance(1), "and so was the update");
        assert_eq!(told.resets.first(), Some(&ResetCause::First));
        assert!(told.resets.len() > 1, "what was lost must be told");
        assert!(told.resets[1..].iter().all(|cause| *cause == ResetCause::Diverged), "{:?}", told.resets);
    });
    for lease in [&lost.lease, &kept.lease] {
        let beat = registry.keepalive(lease).await.unwrap_err();
        assert_eq!(beat.kind(), ErrorKind::LeaseLost, "gone, or older than what was acknowledged");
    }
}

/// A primary that is cut off from everybody but the clients goes on answering them.
#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_a_primary_that_the_sentinels_have_replaced() {
    let (group, options) = group(SentinelOptions::default().with_replica_proxies()).await;
    let registry = RedisRegistry::new(options).unwrap();
    let serving = registrar(&registry, 1, 5);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;
    let old = group.primary().await.unwrap();
    assert!(group.isolate(old));
    let new = group.wait_new_primary(old).await.unwrap();
    let replaced = Instant::now();
    let new_one = crate::support::registry(group.node(new).address());
    eventually("the registrar is on the new primary", Duration::from_secs(8), async || {
        let listed = new_one.lookup(&user()).await.ok()?;
        listed.get(instance(1).id()).map(drop)
    })
    .await;
    let marker = new_one.register(&instance(2), &lasting()).await.unwrap();
    agree(&record, &new_one, Instant::now() + HEALED).await;
    eprintln!("on the new primary {:?} after it was there", replaced.elapsed());
    assert!(group.node(old).command(&["PING"]).await.is_ok(), "the old one is there all the time");
    group.heal();
    group.wait_in_sync().await.unwrap();
    agree(&record, &registry, Instant::now() + HEALED).await;
    new_one.deregister(&marker.lease).await.unwrap();
}

/// `WAIT` stops its connection: a hundred in turn would take 50 s, and the request timeout is 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_replicas_do_not_wait_in_turn() {
    let (group, options) = group(SentinelOptions::default().with_replica_proxies()).await;
    let registry = RedisRegistry::new(options.with_wait(1, Duration::from_millis(500))).unwrap();
    let writes: Vec<_> = (1..=100).map(|n| (instance(n), lasting())).collect();
    let write_all = || writes.iter().map(|(instance, options)| registry.register(instance, options));
    group.wait_in_sync().await.unwrap();
    assert!(group.partition_replicas());
    for outcome in join_all(write_all()).await {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().contains("written, but only 0 of 1 replicas"), "{error}");
    }
    group.heal();
    eventually("replicas have all of them", PATIENCE, async || try_join_all(write_all()).await.ok()).await;
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 100);
}

/// Whoever gives up in the middle of a `WAIT` leaves a connection that is stopped: the others take another one, and are told the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_while_it_waits_for_replicas_does_not_hold_up_the_others() {
    let (group, options) = group(SentinelOptions::default().with_replica_proxies()).await;
    let registry = RedisRegistry::new(options.with_wait(1, Duration::from_secs(2))).unwrap();
    group.wait_in_sync().await.unwrap();
    let primary = group.node(group.primary().await.unwrap());
    assert!(group.partition_replicas());
    // The connection that is stopped.
    let stopped = async || {
        let Reply::Text(clients) = primary.command(&["CLIENT", "LIST"]).await.unwrap() else { return None };
        let clients = String::from_utf8_lossy(&clients).into_owned();
        let stopped = clients.lines().find(|client| client.contains(" flags=b "))?;
        stopped.split(' ').next().map(str::to_owned)
    };
    let waiting = registry.clone();
    let waiting = tokio::spawn(async move { waiting.register(&instance(1), &lasting()).await });
    let first = eventually("it waits", PATIENCE, async || stopped().await).await;
    let other = registry.clone();
    let queued = tokio::spawn(async move { other.register(&instance(2), &lasting()).await });
    waiting.abort();
    eventually("the other waits on another connection", PATIENCE, async || {
        stopped().await.filter(|second| *second != first)
    })
    .await;
    let error = queued.await.unwrap().unwrap_err();
    assert!(error.message().contains("written, but only 0 of 1 replicas"), "{error}");
    group.heal();
    eventually("a replica is back", PATIENCE, async || {
        registry.register(&instance(3), &lasting()).await.ok()
    })
    .await;
}

/// What is refused has written nothing, whether or not there are replicas.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_said_to_be_written() {
    let (group, options) = group(SentinelOptions::default().with_replica_proxies()).await;
    let registry = RedisRegistry::new(options.with_wait(1, Duration::from_millis(500))).unwrap();
    group.wait_in_sync().await.unwrap();
    registry.register(&instance(1), &lasting()).await.unwrap();
    assert!(group.partition_replicas());
    let refused =
        registry.register(&instance(1), &lasting().with_on_conflict(OnConflict::Refuse)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyRegistered, "{refused}");
    group.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_id_the_newest_has_it_after_a_fail_over() {
    let (group, options) = group(SentinelOptions::default()).await;
    let client = || RedisRegistry::new(options.clone()).unwrap();
    let start = |registry: &RedisRegistry, weight| {
        let options = RegistrarOptions::default().with_ttl(ttl(5)).with_when_fenced(WhenFenced::Stop);
        Registrar::start(Arc::new(registry.clone()), weighing(1, weight), options)
    };
    let (first, second) = (client(), client());
    let older = start(&first, 1);
    timeout(PATIENCE, older.registered()).await.unwrap().unwrap();
    group.wait_in_sync().await.unwrap();
    let old = group.primary().await.unwrap();
    // The newer one takes over just as the primary dies.
    let newer = start(&second, 2);
    group.kill(old).await.unwrap();
    group.wait_new_primary(old).await.unwrap();
    timeout(PATIENCE, newer.registered()).await.unwrap().unwrap();
    let reader = client();
    eventually("the newer one holds the id, and the older one knows", Duration::from_secs(12), async || {
        let listed = reader.lookup(&user()).await.ok()?;
        let weight = listed.get(instance(1).id())?.instance().weight().get();
        let fenced = matches!(*older.state(), RegistrarState::Fenced { .. });
        (weight == 2 && fenced).then_some(())
    })
    .await;
    assert!(matches!(*newer.state(), RegistrarState::Registered { .. }));
}
