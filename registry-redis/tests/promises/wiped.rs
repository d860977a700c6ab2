//! Everything, or a single key of a service, is deleted: watches say so, the living are back, the dead do not stay.

use std::time::Duration;

use registry_core::{RegisterOptions, Registrar, Registry, ResetCause, Revision};
use registry_redis::RedisRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Redis, Reply};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, key, lasting, registrar, registry, server, ttl, user, weighing,
};

const TTL: u64 = 5;
/// How soon all must be right again.
const RIGHT: Duration = Duration::from_secs(4);

fn causes(record: &Record) -> Vec<ResetCause> {
    record.told(|told| told.resets.clone())
}

async fn is_there(client: &RedisRegistry, n: usize) -> bool {
    client.lookup(&user()).await.unwrap().get(instance(n).id()).is_some()
}

async fn back(serving: &Registrar, direct: &RedisRegistry, deadline: Instant) {
    eventually("the registrar is back", deadline - Instant::now(), async || {
        (serving.state().is_registered() && is_there(direct, 1).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_is_told_and_the_registrar_is_back_within_its_ttl() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, direct) = (registry(redis.address()), registry(redis.address()));
    let serving = registrar(&client, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&client).await;
    redis.flush_all().await.unwrap();
    let wiped = Instant::now();
    back(&serving, &direct, wiped + Duration::from_secs(TTL)).await;
    eprintln!("the registrar is back {:?} after the wipe", wiped.elapsed());
    record.until_equal(&direct, Instant::now() + RIGHT).await;
    assert_eq!(causes(&record), [ResetCause::First, ResetCause::Wiped]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_is_told_to_a_watch_for_which_nothing_else_happens() {
    let redis = Redis::start(server()).await.unwrap();
    let (owner, watching) = (registry(redis.address()), registry(redis.address()));
    owner.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&watching).await;
    redis.flush_all().await.unwrap();
    let empty = async || record.told(|told| told.view.as_ref()?.is_empty().then_some(()));
    eventually("the view is empty", RIGHT, empty).await;
    assert_eq!(causes(&record), [ResetCause::First, ResetCause::Wiped]);
}

/// Registers an instance and updates it until the service is at `revision`.
async fn write_up_to(client: &RedisRegistry, revision: u64, weight: u32) {
    let registration = client.register(&instance(1), &lasting()).await.unwrap();
    let mut at = registration.revision;
    while at.get() < revision {
        at = client.update(&registration.lease, &weighing(1, weight)).await.unwrap();
    }
    assert_eq!(at.get(), revision, "exactly as many writes");
}

/// Wipes, and writes at once as much as there was before; `cut`: while the watch is cut off.
async fn wiped_and_written_as_much(cut: bool) {
    const WRITES: u64 = 20;
    let redis = Redis::start(server()).await.unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    let (before, after, watching) =
        (registry(redis.address()), registry(redis.address()), registry(proxy.address()));
    write_up_to(&before, WRITES, 3).await;
    let record = Record::start(&watching).await;
    record.until_revision(Revision::new(WRITES), PATIENCE).await;
    after.lookup(&user()).await.unwrap();
    if cut {
        proxy.set(Faults::refusing()).await;
        proxy.cut().await;
    }
    redis.flush_all().await.unwrap();
    write_up_to(&after, WRITES, 4).await;
    proxy.heal().await;
    record.until_equal(&registry(redis.address()), Instant::now() + RIGHT).await;
    assert_eq!(causes(&record), [ResetCause::First, ResetCause::Wiped]);
    record.told(|told| {
        let view = told.view.as_ref().unwrap();
        assert_eq!(view.get(instance(1).id()).unwrap().instance().weight().get(), 4);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_with_as_many_writes_at_once_is_told() {
    wiped_and_written_as_much(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_with_as_many_writes_while_cut_off_is_told() {
    wiped_and_written_as_much(true).await;
}

/// Deletes one key of a service that has a living registrar, somebody who has just died, and one that leaves afterwards.
async fn deleted(part: &str, allowed: &[ResetCause]) {
    let redis = Redis::start(server()).await.unwrap();
    let (client, direct) = (registry(redis.address()), registry(redis.address()));
    let serving = registrar(&client, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    serving.update(weighing(1, 7)).await.unwrap();
    let dead = RegisterOptions::new().with_ttl(ttl(TTL));
    registry(redis.address()).register(&instance(2), &dead).await.unwrap();
    let leaving = direct.register(&instance(3), &lasting()).await.unwrap();
    let (record, idle) = (Record::start(&client).await, Record::start(&registry(redis.address())).await);
    let before = direct.lookup(&user()).await.unwrap();

    let removed = redis.command(&["DEL", &key(&user(), part)]).await.unwrap();
    assert_eq!(removed, Reply::Number(1), "there was such a key");
    let begun = Instant::now();
    for record in [&record, &idle] {
        record.until_equal(&direct, begun + RIGHT).await;
    }
    eprintln!("{part}: views agree {:?} after it was deleted", begun.elapsed());
    back(&serving, &direct, begun + Duration::from_secs(TTL)).await;
    direct.deregister(&leaving.lease).await.unwrap();
    let alone = async || (direct.lookup(&user()).await.unwrap().len() == 1).then_some(());
    eventually("only the living is listed", Duration::from_secs(2 * TTL) + RIGHT, alone).await;
    eprintln!("{part}: the dead is gone after {:?}", begun.elapsed());
    assert!(is_there(&direct, 1).await);
    // Whoever watches anew from before, and those who have watched all the time.
    let resumed = Record::resume(&registry(redis.address()), before);
    for record in [&record, &idle, &resumed] {
        record.until_equal(&direct, Instant::now() + RIGHT).await;
        let told = causes(record);
        let told = told.strip_prefix(&[ResetCause::First]).unwrap_or(&told);
        assert!(told.len() <= 1 && told.iter().all(|cause| allowed.contains(cause)), "{part}: {told:?}");
    }
    for record in [&record, &idle] {
        record.told(|told| assert!(told.gone.iter().any(|(id, _)| *id == instance(3).id().to_string())));
    }
    sleep(Duration::from_secs(TTL + 1)).await;
    assert!(is_there(&direct, 1).await, "{part}: the registrar stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_service_deleted_is_a_wipe() {
    deleted("head", &[ResetCause::Wiped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_service_deleted_costs_a_reset_at_most() {
    deleted("log", &[ResetCause::Compacted]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadlines_of_a_service_deleted_keep_neither_the_dead_nor_lose_the_living() {
    deleted("deadlines", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instances_of_a_service_deleted_are_told_as_gone_and_the_living_are_back() {
    deleted("instances", &[]).await;
}

/// Revisions alone do not tell: the history that took the place of what was seen is further.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_put_back_and_written_to_is_of_another_epoch_for_the_next_lookup() {
    let redis = Redis::start(server()).await.unwrap();
    let looking = registry(redis.address());
    write_up_to(&registry(redis.address()), 3, 1).await;
    let backup = redis.save().await.unwrap();
    write_up_to(&registry(redis.address()), 6, 2).await;
    let before = looking.lookup(&user()).await.unwrap().cursor();
    assert_eq!(before.revision(), Revision::new(6));
    redis.restore(&backup).await.unwrap();
    // Of a client that has seen nothing of what was lost.
    write_up_to(&registry(redis.address()), 9, 3).await;
    let now = looking.lookup(&user()).await.unwrap();
    assert_eq!(now.cursor().revision(), Revision::new(9));
    assert_eq!(now.get(instance(1).id()).unwrap().instance().weight(), weighing(1, 3).weight());
    assert_ne!(now.cursor().epoch(), before.epoch(), "it is another history");
    // It stays what it is, further changes and a trimmed log included.
    write_up_to(&registry(redis.address()), 12, 4).await;
    assert_eq!(looking.lookup(&user()).await.unwrap().cursor().epoch(), now.cursor().epoch());
    write_up_to(&registry(redis.address()), 15, 5).await;
    redis.command(&["XTRIM", &key(&user(), "log"), "MAXLEN", "1"]).await.unwrap();
    let trimmed = looking.lookup(&user()).await.unwrap().cursor();
    assert_eq!((trimmed.epoch(), trimmed.revision()), (now.cursor().epoch(), Revision::new(15)));
}
