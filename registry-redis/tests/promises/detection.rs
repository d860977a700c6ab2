//! Whoever dies is out of every view soon after its TTL, not before, whatever else lies in the same database.

use std::time::Duration;

use registry_core::{RegisterOptions, Registry, ServiceName};
use registry_redis::RedisRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Redis, Reply};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{
    ALONE, PATIENCE, Record, eventually, instance, instance_of, registry, server, ttl, user,
};

const TTL: u64 = 2;
/// How late it may be: with `expiry_bound` and the way to a watch.
const LATE: Duration = Duration::from_secs(1);
const CHUNK: usize = 10_000;

/// Other keys, which expire within 1 s to 1 h.
const LOAD: &str = "for at = 1, ARGV[1] do \
                    redis.call('SET', 'other:' .. ARGV[2] .. ':' .. at, 'x', 'PX', math.random(1000, 3600000)) \
                    end";

async fn load(redis: &Redis, keys: usize) {
    for chunk in 0..keys / CHUNK {
        redis.command(&["EVAL", LOAD, "0", &CHUNK.to_string(), &chunk.to_string()]).await.unwrap();
    }
    let size = redis.command(&["DBSIZE"]).await.unwrap();
    let Reply::Number(size) = size else { panic!("{size:?}") };
    // Few have expired by now.
    assert!(usize::try_from(size).unwrap() >= keys * 9 / 10, "{size} of {keys} keys");
}

/// Registers with a client of its own, renews once, and is never heard of again: between which moments its lease began for the last time.
async fn die(redis: &Redis, service: &ServiceName) -> (Instant, Instant) {
    let dying = registry(redis.address());
    let options = RegisterOptions::new().with_ttl(ttl(TTL));
    let registration = dying.register(&instance_of(service, 1), &options).await.unwrap();
    assert_eq!(registration.ttl, ttl(TTL));
    let invoked = Instant::now();
    dying.keepalive(&registration.lease).await.unwrap();
    (invoked, Instant::now())
}

/// When lookups no longer list anything: when the first one that did not was answered.
async fn unlisted(client: &RedisRegistry, service: &ServiceName) -> Instant {
    let empty = async || {
        let listed = client.lookup(service).await.unwrap();
        listed.is_empty().then(Instant::now)
    };
    eventually("lookups list it no more", PATIENCE, empty).await
}

async fn detected_among(keys: usize) {
    let _alone = ALONE.lock().await;
    let redis = Redis::start(server()).await.unwrap();
    load(&redis, keys).await;
    let (watching, looking) = (registry(redis.address()), registry(redis.address()));
    let unwatched = ServiceName::new("unwatched.rpc").unwrap();
    let record = Record::start(&watching).await;
    let watched_since = die(&redis, &user()).await;
    let looked_up_since = die(&redis, &unwatched).await;
    let told = async || record.told(|told| told.gone.first().map(|(_, at)| *at));
    let (told, unlisted) =
        tokio::join!(eventually("the watch tells it", PATIENCE, told), unlisted(&looking, &unwatched));
    let lease = ttl(TTL).get();
    for (how, at, (invoked, answered)) in
        [("a watch", told, watched_since), ("lookups", unlisted, looked_up_since)]
    {
        assert!(at >= invoked + lease, "{how}: {:?} early", invoked + lease - at);
        assert!(at <= answered + lease + LATE, "{how}: {:?} late", at - answered - lease);
        eprintln!("{keys} other keys, {how}: {:?} after the TTL", at.duration_since(answered + lease));
    }
    assert!(looking.lookup(&user()).await.unwrap().is_empty());
    assert_eq!(looking.services("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_is_out_of_views_within_its_ttl_and_a_second() {
    detected_among(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_is_out_of_views_as_soon_among_10_000_keys_that_expire() {
    detected_among(10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_is_out_of_views_as_soon_among_100_000_keys_that_expire() {
    detected_among(100_000).await;
}

/// `silence`: for how long nobody is there after the last lease has ended.
async fn all_dead(silence: Duration) {
    let redis = Redis::start(server()).await.unwrap();
    {
        let dying = registry(redis.address());
        let options = || RegisterOptions::new().with_ttl(ttl(1));
        for n in 0..300 {
            dying.register(&instance(n), &options()).await.unwrap();
        }
        assert!(!dying.lookup(&user()).await.unwrap().is_empty());
    }
    sleep_until(Instant::now() + ttl(1).get() + silence).await;
    let newcomer = registry(redis.address());
    assert!(newcomer.lookup(&user()).await.unwrap().is_empty(), "the first lookup");
    let record = Record::start(&registry(redis.address())).await;
    record.told(|told| assert!(told.view.as_ref().unwrap().is_empty()));
    assert_eq!(newcomer.services("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_have_died_the_first_lookup_of_a_newcomer_is_empty() {
    for silence in [Duration::from_millis(100), Duration::from_millis(1_500), Duration::from_secs(5)] {
        all_dead(silence).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_beats_stays_while_another_dies_beside_it() {
    let redis = Redis::start(server()).await.unwrap();
    let (living, watching) = (registry(redis.address()), registry(redis.address()));
    let options = RegisterOptions::new().with_ttl(ttl(TTL));
    let lease = living.register(&instance(2), &options).await.unwrap().lease;
    let record = Record::start(&watching).await;
    die(&redis, &user()).await;
    let end = Instant::now() + 2 * ttl(TTL).get();
    while Instant::now() < end {
        living.keepalive(&lease).await.unwrap();
        assert!(watching.lookup(&user()).await.unwrap().get(lease.id()).is_some());
        sleep(ttl(TTL).get() / 4).await;
    }
    record.told(|told| {
        let gone: Vec<_> = told.gone.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(gone, [instance(1).id().to_string()]);
    });
}

/// Each call of a living client comes so late that the server may have stood still meanwhile; `prompt`: beside one whose calls do not.
async fn beside_a_slow_way(prompt: bool) {
    let redis = Redis::start(server()).await.unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    let (slow, quick) = (registry(proxy.address()), registry(redis.address()));
    let options = || RegisterOptions::new().with_ttl(ttl(2 * TTL));
    let lease = slow.register(&instance(2), &options()).await.unwrap().lease;
    slow.keepalive(&lease).await.unwrap();
    let prompt_lease = quick.register(&instance(3), &options()).await.unwrap().lease;
    let (_, answered) = die(&redis, &user()).await;
    let mut faults = Faults::default();
    faults.to_server.latency = Duration::from_millis(1_300);
    proxy.set(faults).await;
    let beating = async {
        loop {
            let begun = Instant::now();
            slow.keepalive(&lease).await.unwrap();
            assert!(begun.elapsed() > Duration::from_secs(1), "the way is slow");
        }
    };
    let prompt_beating = async {
        while prompt {
            quick.keepalive(&prompt_lease).await.unwrap();
            sleep(Duration::from_millis(700)).await;
        }
        std::future::pending().await
    };
    let looking = registry(redis.address());
    let gone = async || {
        let listed = looking.lookup(&user()).await.unwrap();
        assert!(listed.get(lease.id()).is_some(), "the living stays");
        listed.get(instance(1).id()).is_none().then_some(())
    };
    tokio::select! {
        () = beating => {}
        () = prompt_beating => {}
        () = eventually("the dead is gone", PATIENCE, gone) => {}
    }
    let late = answered.elapsed().saturating_sub(ttl(TTL).get());
    eprintln!("beside a slow way, with a prompt one: {prompt}: gone {late:?} after the TTL");
    assert!(late < ttl(TTL).get() + LATE, "{late:?} after the TTL");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_beats_on_a_slow_way_keeps_no_dead_alive() {
    tokio::join!(beside_a_slow_way(false), beside_a_slow_way(true));
}
