//! The owner of an entry: it learns within one heartbeat what others did to it, and what it gave up waiting for does not happen.

use std::net::SocketAddr;
use std::time::Duration;

use registry_core::codec::Stored;
use registry_core::{
    ErrorKind, Incarnation, Instance, OwnerToken, RegisterOptions, RegistrarState, Registry, ResetCause,
};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, key, lasting, registrar, registry, server, ttl, user, weighing,
};

const TTL: u64 = 6;
/// A third of the TTL, and an answer.
const HEARTBEAT: Duration = Duration::from_millis(2_500);
/// How soon watches see what other hands wrote.
const SEEN: Duration = Duration::from_secs(4);
/// For how long callers wait who give up.
const BRIEF: Duration = Duration::from_millis(500);

/// A client whose callers give up soon.
fn impatient(address: SocketAddr, patience: Duration) -> RedisRegistry {
    let options = RedisOptions::standalone(address.to_string()).with_request_timeout(patience);
    RedisRegistry::new(options).unwrap()
}

/// How many scripts were called.
async fn calls(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text();
    let count = |line: &str| {
        line.strip_prefix("cmdstat_eval")?.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()
    };
    stats.lines().filter_map(count).sum::<u64>()
}

async fn weight(client: &RedisRegistry, n: usize) -> Option<u32> {
    let listed = client.lookup(&user()).await.unwrap();
    listed.get(instance(n).id()).map(|entry| entry.instance().weight().get())
}

/// What an operator writes.
async fn overwrite(redis: &Redis, instance: &Instance) {
    let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random()).encode();
    let hash = key(&user(), "instances");
    redis.command(&[b"HSET", hash.as_bytes(), instance.id().as_str().as_bytes(), &stored]).await.unwrap();
}

async fn delete(redis: &Redis, n: usize) {
    redis.command(&["HDEL", &key(&user(), "instances"), instance(n).id().as_str()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_learnt_within_one_heartbeat_and_fences_every_use_of_the_old_lease() {
    let redis = Redis::start(server()).await.unwrap();
    let (old, new) = (registry(redis.address()), registry(redis.address()));
    let serving = registrar(&old, 1, TTL);
    let before = timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&old).await;
    let taken = new.register(&weighing(1, 7), &lasting()).await.unwrap();
    let begun = Instant::now();
    let fenced = async || matches!(*serving.state(), RegistrarState::Fenced { .. }).then_some(());
    eventually("the old owner is fenced", HEARTBEAT, fenced).await;
    eprintln!("fenced {:?} after the takeover", begun.elapsed());
    for client in [&old, &registry(redis.address())] {
        for _ in 0..2 {
            let error = client.update(&before.lease, &weighing(1, 9)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
            let error = client.keepalive(&before.lease).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
        }
        client.deregister(&before.lease).await.unwrap();
    }
    new.keepalive(&taken.lease).await.unwrap();
    assert_eq!(weight(&new, 1).await, Some(7));
    record.require_whole(&[taken.revision]);
    record.told(|told| assert_eq!((told.changes.len(), told.deletions), (1, 0), "one put"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_given_up_during_a_pause_does_not_happen_after_it() {
    let redis = Redis::start(server()).await.unwrap();
    let owner = impatient(redis.address(), BRIEF);
    let lease = owner.register(&instance(1), &lasting()).await.unwrap().lease;
    let at = owner.update(&lease, &weighing(1, 4)).await.unwrap();
    let before = calls(&redis).await;
    redis.pause().await.unwrap();
    let error = owner.update(&lease, &weighing(1, 5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    redis.resume().await.unwrap();
    eventually("it was asked for", PATIENCE, async || (calls(&redis).await > before).then_some(())).await;
    let listed = owner.lookup(&user()).await.unwrap();
    assert_eq!((listed.revision(), weight(&owner, 1).await), (at, Some(4)));
    // Nor does it stand in the way of later ones.
    let at = owner.update(&lease, &weighing(1, 6)).await.unwrap();
    owner.keepalive(&lease).await.unwrap();
    let listed = owner.lookup(&user()).await.unwrap();
    assert_eq!((listed.revision(), weight(&owner, 1).await), (at, Some(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_given_up_during_a_pause_does_not_appear_after_it() {
    let redis = Redis::start(server()).await.unwrap();
    let (owner, direct) = (impatient(redis.address(), 4 * BRIEF), registry(redis.address()));
    owner.register(&instance(1), &lasting()).await.unwrap();
    let before = calls(&redis).await;
    // What is sent meanwhile waits in the server's socket.
    redis.pause().await.unwrap();
    let error = owner.register(&instance(2), &lasting()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    redis.resume().await.unwrap();
    eventually("it was asked for", PATIENCE, async || (calls(&redis).await > before).then_some(())).await;
    assert_eq!(weight(&direct, 2).await, None);
    // The first to ask may still be told of the outage.
    let registered = async || owner.register(&instance(2), &lasting()).await.ok();
    eventually("a later one succeeds", PATIENCE, registered).await;
    assert!(weight(&direct, 2).await.is_some());
}

/// Passes connections on; what the first one sends waits while `held`.
async fn relay(server: SocketAddr, held: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for first in std::iter::once(true).chain(std::iter::repeat(false)) {
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut upstream, mut held) = (TcpStream::connect(server).await.unwrap(), held.clone());
            tokio::spawn(async move {
                let ((mut from, mut to_client), (mut answers, mut to)) = (client.split(), upstream.split());
                let there = async {
                    let mut bytes = [0; 4_096];
                    while let Ok(count @ 1..) = from.read(&mut bytes).await {
                        if first {
                            let _ = held.wait_for(|held| !held).await;
                        }
                        to.write_all(&bytes[..count]).await.unwrap();
                    }
                };
                // Until the server has answered everything, whether anybody reads that or not.
                let back = async {
                    let mut bytes = [0; 4_096];
                    while let Ok(count @ 1..) = answers.read(&mut bytes).await {
                        let _ = to_client.write_all(&bytes[..count]).await;
                    }
                };
                tokio::join!(there, back)
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_update_that_arrives_late_never_replaces_a_newer_one() {
    let redis = Redis::start(server()).await.unwrap();
    let (hold, held) = watch::channel(false);
    let address = relay(redis.address(), held).await;
    let options = RedisOptions::standalone(address.to_string()).with_stall_after(Duration::from_millis(100));
    let owner = RedisRegistry::new(options).unwrap();
    let lease = owner.register(&instance(1), &lasting()).await.unwrap().lease;
    owner.update(&lease, &weighing(1, 4)).await.unwrap();
    let record = Record::start(&registry(redis.address())).await;
    hold.send_replace(true);
    let older = timeout(Duration::from_millis(50), owner.update(&lease, &weighing(1, 5))).await;
    assert!(older.is_err(), "it is held on its way");
    let newer = owner.update(&lease, &weighing(1, 6)).await.expect("on another connection");
    let updates = async || calls(&redis).await;
    let before = updates().await;
    hold.send_replace(false);
    // More than the looks of a watch: it looks once a second.
    let begun = Instant::now();
    eventually("the older one arrives", PATIENCE, async || (updates().await >= before + 2).then_some(()))
        .await;
    assert!(begun.elapsed() < Duration::from_millis(900), "only looks arrived");
    owner.keepalive(&lease).await.unwrap();
    assert_eq!(weight(&owner, 1).await, Some(6));
    record.until_equal(&owner, Instant::now() + SEEN).await;
    record
        .told(|told| assert_eq!(told.changes, [(newer, instance(1).id().to_string())], "only the newer one"));
    let later = owner.update(&lease, &weighing(1, 7)).await.unwrap();
    assert!(later > newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_delete_is_learnt_within_one_heartbeat_and_seen_by_watches() {
    let redis = Redis::start(server()).await.unwrap();
    let (owner, other) = (registry(redis.address()), registry(redis.address()));
    let kept = other.register(&instance(2), &lasting()).await.unwrap();
    let serving = registrar(&owner, 1, TTL);
    let before = timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&other).await;
    delete(&redis, 1).await;
    let begun = Instant::now();
    assert_eq!(weight(&other, 1).await, None, "what an operator deleted is not listed");
    let back = async || {
        let listed = other.lookup(&user()).await.unwrap();
        let entry = listed.get(instance(1).id())?;
        (entry.modified() > before.revision).then_some(())
    };
    eventually("the owner puts it back", HEARTBEAT, back).await;
    eprintln!("back {:?} after the deletion", begun.elapsed());
    record.until_equal(&other, begun + SEEN).await;
    record.told(|told| {
        assert_eq!(told.resets, [ResetCause::First]);
        assert_eq!(told.gone.len(), 1, "the deletion was told: {:?}", told.gone);
    });
    // One that nobody puts back.
    delete(&redis, 2).await;
    let begun = Instant::now();
    let told = async || record.told(|told| told.view.as_ref()?.get(instance(2).id()).is_none().then_some(()));
    eventually("a watch tells it", SEEN, told).await;
    eprintln!("told {:?} after the deletion", begun.elapsed());
    assert_eq!(other.keepalive(&kept.lease).await.unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_overwrite_is_learnt_within_one_heartbeat_and_seen_by_watches() {
    let redis = Redis::start(server()).await.unwrap();
    let (owner, other) = (registry(redis.address()), registry(redis.address()));
    let serving = registrar(&owner, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&other).await;
    overwrite(&redis, &weighing(1, 9)).await;
    let begun = Instant::now();
    let told = async || {
        record.told(|told| told.changes.iter().any(|(_, id)| id == instance(1).id().as_str()).then_some(()))
    };
    eventually("a watch tells it", SEEN, told).await;
    eprintln!("told {:?} after it was overwritten", begun.elapsed());
    // A value with another owner is a takeover, by an incarnation that is lower.
    let mended = async || {
        let fenced = matches!(*serving.state(), RegistrarState::Fenced { .. });
        let own = serving.state().is_registered() && weight(&other, 1).await == Some(100);
        (fenced || own).then_some(fenced)
    };
    let fenced = eventually("the owner has learnt it", HEARTBEAT, mended).await;
    eprintln!("learnt {:?} after it was overwritten; fenced: {fenced}", begun.elapsed());
    record.until_equal(&other, begun + SEEN + HEARTBEAT).await;
}

/// What an operator puts has no owner who could renew it: it stays until somebody takes it over or deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_an_operator_stays_until_it_is_taken_over_and_then_obeys_its_lease() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let living = client.register(&instance(2), &lasting()).await.unwrap();
    let record = Record::start(&client).await;
    overwrite(&redis, &weighing(1, 9)).await;
    let there =
        async || record.told(|told| told.view.as_ref()?.get(instance(1).id()).is_some().then_some(()));
    eventually("a watch tells it", SEEN, there).await;
    let score = async || {
        let score = redis.command(&["ZSCORE", &key(&user(), "deadlines"), instance(1).id().as_str()]).await;
        score.unwrap().text()
    };
    assert_eq!(score().await, "inf");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(weight(&client, 1).await, Some(9));
    let brief = RegisterOptions::new().with_ttl(ttl(1));
    client.register(&instance(1), &brief).await.unwrap();
    assert_ne!(score().await, "inf");
    let gone = async || record.told(|told| told.view.as_ref()?.get(instance(1).id()).is_none().then_some(()));
    eventually("it ends with its lease", ttl(1).get() + Duration::from_secs(1), gone).await;
    client.keepalive(&living.lease).await.unwrap();
    record.until_equal(&client, Instant::now() + SEEN).await;
}
