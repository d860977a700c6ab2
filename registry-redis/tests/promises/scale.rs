//! Sizes: a service of 100,000 instances, a burst of 10,000 changes, 500 watches of one client, many leases that end together, and what each takes of
//! memory.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use registry_core::resume::ResumeOptions;
use registry_core::{Instance, Registry, Revision, ServiceName, WatchEvent};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::Redis;
use tokio::time::{Instant, timeout};

use crate::support::{
    ALONE, PATIENCE, Record, eventually, info, instance, key, lasting, registry, server, ttl, user, weighing,
};

/// The longest that one script or command may take: a server that does nothing else meanwhile. This is a test's build on a busy machine; what a
/// quiet one takes is told.
const LONGEST: Duration = Duration::from_millis(50);

/// Registers so many instances, and gives the revisions.
async fn fill(registry: &RedisRegistry, instances: impl Iterator<Item = Instance>) -> Vec<Revision> {
    let register = |instance| async move { registry.register(&instance, &lasting()).await.unwrap().revision };
    stream::iter(instances).map(register).buffer_unordered(256).collect().await
}

/// Loads of this size take longer when compiled for tests.
fn patient(redis: &Redis) -> RedisRegistry {
    let resume = ResumeOptions::default().with_open_deadline(Duration::from_secs(60));
    let options = RedisOptions::standalone(redis.address().to_string()).with_resume(resume);
    RedisRegistry::new(options.with_request_timeout(Duration::from_secs(20))).unwrap()
}

async fn time_commands(redis: &Redis) {
    let micros = LONGEST.as_micros().to_string();
    redis
        .command(&["CONFIG", "SET", "slowlog-log-slower-than", &micros, "slowlog-max-len", "128"])
        .await
        .unwrap();
    redis.command(&["SLOWLOG", "RESET"]).await.unwrap();
}

async fn require_none_long(redis: &Redis) {
    let slow = redis.command(&["SLOWLOG", "GET", "10"]).await.unwrap();
    let told: Vec<_> =
        slow.list().iter().map(|entry| format!("{entry:?}").chars().take(200).collect::<String>()).collect();
    assert!(told.is_empty(), "these took longer than {LONGEST:?}: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_100_000_is_listed_whole_and_its_watch_survives_a_burst_of_10_000_changes() {
    const INSTANCES: usize = 100_000;
    const CHANGES: usize = 10_000;
    let _alone = ALONE.lock().await;
    let redis = Redis::start(server()).await.unwrap();
    let registry = patient(&redis);
    let begun = Instant::now();
    fill(&registry, (0..INSTANCES).map(instance)).await;
    eprintln!("{INSTANCES} instances registered in {:?}", begun.elapsed());
    time_commands(&redis).await;
    let begun = Instant::now();
    let listed = registry.lookup(&user()).await.unwrap();
    eprintln!("{INSTANCES} instances listed in {:?}", begun.elapsed());
    assert_eq!((listed.len(), listed.skipped()), (INSTANCES, 0));

    let record = Record::start(&registry).await;
    let begun = Instant::now();
    let changed = (0..CHANGES).map(|n| weighing(n * 7 % INSTANCES, 7));
    let acknowledged = fill(&registry, changed).await;
    let written = begun.elapsed();
    record.until_revision(*acknowledged.iter().max().unwrap(), PATIENCE).await;
    eprintln!("{CHANGES} changes written in {written:?}, told {:?} later", begun.elapsed() - written);
    record.require_whole(&acknowledged);
    record.told(|told| {
        let view = told.view.as_ref().unwrap();
        assert_eq!(view.len(), INSTANCES);
        assert_eq!(view.instances().filter(|instance| instance.weight().get() == 7).count(), CHANGES);
    });
    require_none_long(&redis).await;
}

/// A lookup is of one revision, however many pages it takes: of two instances that change one after the other, never is the later change in it without
/// the earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_of_many_pages_is_of_one_revision() {
    let redis = Redis::start(server()).await.unwrap();
    let writer = registry(redis.address());
    // More than a small hash holds in one piece, so that it is really read page by page.
    fill(&writer, (0..2_000).map(instance)).await;
    let options = RedisOptions::standalone(redis.address().to_string()).with_page(10);
    let reader = RedisRegistry::new(options).unwrap();
    let mut leases = Vec::new();
    for n in [0, 1_999] {
        leases.push(writer.register(&weighing(n, 0), &lasting()).await.unwrap().lease);
    }
    let writing = tokio::spawn(async move {
        for weight in 1..2_000 {
            for (lease, n) in leases.iter().zip([0, 1_999]) {
                writer.update(lease, &weighing(n, weight)).await.unwrap();
            }
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    while !writing.is_finished() {
        let listed = reader.lookup(&user()).await.unwrap();
        assert_eq!(listed.len(), 2_000);
        let weight = |n: usize| listed.get(instance(n).id()).unwrap().instance().weight().get();
        let (first, second) = (weight(0), weight(1_999));
        assert!(first == second || first == second + 1, "{first} and {second}");
        seen.insert(first);
    }
    writing.await.unwrap();
    assert!(seen.len() > 3, "the writes came between the lookups: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_do_not_grow_with_the_number_of_watched_services() {
    const SERVICES: usize = 500;
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let before = info(&redis, "connected_clients").await;
    let names: Vec<_> = (0..SERVICES).map(|n| ServiceName::new(format!("service-{n}")).unwrap()).collect();
    let mut watches = Vec::new();
    for name in &names {
        let mut watch = client.watch(name, None);
        let first = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        assert!(matches!(first, WatchEvent::Reset { .. }), "{first:?}");
        watches.push(watch);
    }
    // One for requests, one on which changes are told; and the one that asks.
    let connected = info(&redis, "connected_clients").await - before;
    assert!(connected <= 2, "{connected} connections for {SERVICES} watches");
    let commands = info(&redis, "total_commands_processed").await;
    let begun = Instant::now();
    eventually("three seconds of looks", PATIENCE, async || {
        (begun.elapsed() > Duration::from_secs(3)).then_some(())
    })
    .await;
    let commands_a_second =
        (info(&redis, "total_commands_processed").await - commands) as f64 / begun.elapsed().as_secs_f64();
    eprintln!(
        "{SERVICES} idle watches: {commands_a_second:.0} commands a second, those within scripts included"
    );
    for (name, watch) in names.iter().zip(&mut watches) {
        let newcomer = Instance::builder(name.clone()).endpoint("10.0.0.1:80").build().unwrap();
        let registered = client.register(&newcomer, &lasting()).await.unwrap();
        let told = timeout(PATIENCE, async {
            loop {
                if let Some(WatchEvent::Changes(batch)) = watch.next().await {
                    return batch.cursor.revision();
                }
            }
        });
        assert_eq!(told.await.unwrap(), registered.revision);
    }
    drop(watches);
    let last = registry(redis.address());
    last.lookup(&user()).await.unwrap();
    assert!(info(&redis, "connected_clients").await - before <= 3);
}

/// They are ended in pieces of 256, and all are told.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_leases_that_end_together_are_gone_within_the_bound_and_block_nobody() {
    const LEASES: usize = 10_000;
    let _alone = ALONE.lock().await;
    let redis = Redis::start(server()).await.unwrap();
    let client = patient(&redis);
    let record = Record::start(&client).await;
    let options = || registry_core::RegisterOptions::new().with_ttl(ttl(20));
    let register = |n| {
        let client = client.clone();
        async move { client.register(&instance(n), &options()).await.unwrap().lease }
    };
    let leases: Vec<_> = stream::iter(0..LEASES).map(register).buffer_unordered(256).collect().await;
    // They fall due together, as when the machines of one place lose their power.
    let deadlines = key(&user(), "deadlines");
    time_commands(&redis).await;
    let beat = |lease| {
        let client = client.clone();
        async move { client.keepalive(&lease).await.unwrap() }
    };
    let begun = Instant::now();
    stream::iter(leases).map(beat).buffer_unordered(256).for_each(|()| async {}).await;
    eprintln!("{LEASES} heartbeats in {:?}", begun.elapsed());
    let (first, last) = (begun + Duration::from_secs(20), Instant::now() + Duration::from_secs(20));
    tokio::time::sleep_until(first - Duration::from_millis(50)).await;
    record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), LEASES, "none is early"));
    eventually("all have ended", PATIENCE, async || {
        record.told(|told| told.view.as_ref().unwrap().is_empty().then_some(()))
    })
    .await;
    let late = last.elapsed();
    eprintln!("{LEASES} leases: the last was told to have ended {late:?} after its deadline");
    assert!(late < Duration::from_secs(5), "{late:?}");
    record.told(|told| assert_eq!((told.deletions, told.resets.len()), (LEASES, 1)));
    assert_eq!(
        redis.command(&["ZCARD", &deadlines]).await.unwrap(),
        registry_testing::servers::redis::Reply::Number(0)
    );
    require_none_long(&redis).await;
}

/// What is told in the crate's documentation: some 460 bytes for an instance of the usual size, and some 420 for a change in the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_and_a_change_take_as_much_memory_as_is_told() {
    const COUNT: usize = 5_000;
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    fill(&client, (0..10).map(instance)).await;
    let before = info(&redis, "used_memory_dataset").await;
    fill(&client, (10..COUNT).map(instance)).await;
    let both = (info(&redis, "used_memory_dataset").await - before) as usize / COUNT;
    let log = key(&user(), "log");
    let usage = redis.command(&["MEMORY", "USAGE", &log, "SAMPLES", "0"]).await.unwrap();
    let registry_testing::servers::redis::Reply::Number(log) = usage else { panic!("{usage:?}") };
    let change = usize::try_from(log).unwrap() / COUNT;
    eprintln!("an instance: {} bytes; a change in the log: {change} bytes", both - change);
    assert!((400..520).contains(&(both - change)), "{both} with its change of {change}");
    assert!((370..470).contains(&change), "{change}");
}
