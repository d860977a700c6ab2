//! What Redis tells of changes as they happen may be forged, cut off or thrown away: no view is wrong for long, and nothing is missed without a word.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{ErrorKind, Instance, Lease, Registry, ResetCause, Revision};
use registry_redis::RedisRegistry;
use registry_testing::servers::proxy::{Faults, Flow, Proxy};
use registry_testing::servers::redis::{Redis, Reply};
use tokio::time::{Instant, sleep};

use crate::support::{
    PATIENCE, Record, eventually, instance, key, lasting, registry, server, user, weighing,
};

/// How soon views must be right.
const RIGHT: Duration = Duration::from_secs(3);

/// The same update again until it is acknowledged.
async fn update(client: &RedisRegistry, lease: &Lease, instance: &Instance) -> Revision {
    let acknowledged = async || match client.update(lease, instance).await {
        Ok(revision) => Some(revision),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
            None
        }
    };
    eventually("an update is acknowledged", PATIENCE, acknowledged).await
}

/// Two clients that watch, and an instance at revision 2.
async fn start(redis: &Redis) -> (RedisRegistry, Lease, [Record; 2]) {
    let client = registry(redis.address());
    let lease = client.register(&instance(1), &lasting()).await.unwrap().lease;
    client.update(&lease, &weighing(1, 7)).await.unwrap();
    let records = [Record::start(&client).await, Record::start(&registry(redis.address())).await];
    (client, lease, records)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_somebody_publishes_is_no_matter() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, lease, records) = start(&redis).await;
    let log = key(&user(), "log");
    let mut acknowledged = Vec::new();
    let long = "x".repeat(1 << 20);
    for garbage in ["", "\n\n\n\n\n\n", "3", "3\nx\ny\nleft\nid\n", "-1\n0\n0\nput\n\n", &long, "\u{0}\u{ff}"]
    {
        let heard = redis.command(&["SPUBLISH", &log, garbage]).await.unwrap();
        assert_eq!(heard, Reply::Number(2), "both clients are told");
        redis.command(&["PUBLISH", &log, garbage]).await.unwrap();
        acknowledged.push(update(&client, &lease, &weighing(1, 8)).await);
    }
    for record in &records {
        record.until_equal(&client, Instant::now() + RIGHT).await;
        record.require_whole(&acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_forges_is_in_no_view_for_long() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, lease, records) = start(&redis).await;
    let (log, head) = (key(&user(), "log"), key(&user(), "head"));
    let value =
        redis.command(&["HGET", &key(&user(), "instances"), instance(1).id().as_str()]).await.unwrap();
    let other = value.text().replace(instance(1).id().as_str(), instance(2).id().as_str());
    let mut bitten = 0;
    for (change, id, value, ahead, chained) in [
        ("left", instance(1), "", 1, true),
        ("put", instance(2), other.as_str(), 1, true),
        ("gone", instance(1), "", 1, false),
        ("left", instance(1), "", 1_000_000, true),
        ("left", instance(1), "", 0, true),
    ] {
        let field = async |name: &str| redis.command(&["HGET", &head, name]).await.unwrap().text();
        let revision = field("revision").await.parse::<u64>().unwrap() + ahead;
        let previous = if chained { field("nonce").await } else { "00000000000000aa".into() };
        let forged = format!("{revision}\n00000000000000ff\n{previous}\n{change}\n{}\n{value}", id.id());
        let changes = || records[0].told(|told| told.changes.len());
        let before = changes();
        assert_eq!(redis.command(&["SPUBLISH", &log, &forged]).await.unwrap(), Reply::Number(2));
        let told = Instant::now();
        if ahead == 1 && chained {
            eventually("it is told", RIGHT, async || (changes() > before).then_some(())).await;
            bitten += 1;
        }
        for record in &records {
            record.until_equal(&client, told + RIGHT).await;
        }
        eprintln!("{change} {ahead} ahead, chained: {chained}: views are right after {:?}", told.elapsed());
        let at = update(&client, &lease, &weighing(1, 9)).await;
        for record in &records {
            record.until_revision(at, RIGHT).await;
            record.until_equal(&client, Instant::now() + RIGHT).await;
        }
    }
    assert_eq!(bitten, 2);
    for record in &records {
        record.told(|told| {
            let others: Vec<_> = told.resets.iter().filter(|cause| **cause != ResetCause::Diverged).collect();
            assert_eq!(others, [&ResetCause::First], "{:?}", told.resets);
        });
    }
}

/// As large as instances get.
fn giant(weight: u32) -> Instance {
    let mut giant = weighing(1, weight).to_builder();
    for at in 0..15 {
        giant = giant.metadata(format!("key-{at}"), "x".repeat(Instance::MAX_METADATA_VALUE));
    }
    giant.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_redis_drops_because_it_is_slow_misses_nothing_without_a_word() {
    const LIMIT: &str = "pubsub 64kb 32kb 1";
    let redis = Redis::start(server()).await.unwrap();
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", LIMIT]).await.unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    let (owner, slow) = (registry(redis.address()), registry(proxy.address()));
    let lease = owner.register(&instance(1), &lasting()).await.unwrap().lease;
    let record = Record::start(&slow).await;
    let dropped = || {
        let log = fs::read_to_string(redis.process().folder().log()).unwrap();
        log.lines().filter(|line| line.contains("output buffer limits")).count()
    };
    let mut acknowledged = Vec::new();
    for round in 1..=3_u32 {
        // Nothing arrives, until more is on its way than any system keeps for it.
        let mut stalled = Faults::default();
        stalled.to_client.flow = Flow::Stalled;
        proxy.set(stalled).await;
        let mut weight = 0;
        while dropped() < round as usize {
            weight += 1;
            assert!(weight < 1_000, "Redis keeps 60 MB for a slow reader");
            acknowledged.push(owner.update(&lease, &giant(weight)).await.unwrap());
        }
        proxy.heal().await;
        let healed = Instant::now();
        eventually("it listens again", RIGHT, async || {
            let listeners = redis.command(&["PUBSUB", "SHARDNUMSUB", &key(&user(), "log")]).await.unwrap();
            (listeners.list()[1] == Reply::Number(1)).then_some(())
        })
        .await;
        record.until_equal(&owner, healed + RIGHT).await;
        eprintln!("dropped after {weight} updates; right {:?} after the end", healed.elapsed());
    }
    let resets = record.told(|told| told.resets.clone());
    if resets == [ResetCause::First] {
        record.require_whole(&acknowledged);
    } else {
        assert!(resets[1..].iter().all(|cause| *cause == ResetCause::Compacted), "{resets:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_killed_again_and_again_lose_nothing() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, lease, records) = start(&redis).await;
    let mut acknowledged = Vec::new();
    let updates = async {
        for weight in 1..2_000 {
            acknowledged.push(update(&client, &lease, &weighing(1, weight)).await);
            sleep(Duration::from_millis(1)).await;
        }
    };
    let mut killed = [0, 0];
    let killing = async {
        loop {
            for (kind, killed) in ["pubsub", "normal"].iter().zip(&mut killed) {
                if let Reply::Number(count) = redis.command(&["CLIENT", "KILL", "TYPE", kind]).await.unwrap()
                {
                    *killed += count;
                }
                sleep(Duration::from_millis(37)).await;
            }
        }
    };
    tokio::select! {
        () = updates => {}
        () = killing => {}
    }
    eprintln!("killed {} that are told, {} others", killed[0], killed[1]);
    assert!(killed.iter().all(|count| *count > 20), "{killed:?}");
    for record in &records {
        record.until_equal(&client, Instant::now() + RIGHT).await;
        record.require_whole(&acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_told_on_one_connection() {
    let redis = Redis::start(server()).await.unwrap();
    let watching = registry(redis.address());
    let record = Record::start(&watching).await;
    let end = Instant::now() + Duration::from_secs(10);
    let writers = (0..4).map(|n| {
        let client = registry(redis.address());
        async move {
            let lease = client.register(&instance(n), &lasting()).await.unwrap().lease;
            let mut count = 0;
            while Instant::now() < end {
                count += 1;
                client.update(&lease, &weighing(n, count % 10_000)).await.unwrap();
            }
            count
        }
    });
    let updates: u32 = join_all(writers).await.into_iter().sum();
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text();
    let subscribed = stats.lines().find(|line| line.starts_with("cmdstat_ssubscribe:")).unwrap();
    eprintln!("{updates} updates in 10 s");
    assert!(subscribed.starts_with("cmdstat_ssubscribe:calls=1,"), "{subscribed}");
    record.until_equal(&watching, Instant::now() + RIGHT).await;
    record.require_whole(&[]);
}
