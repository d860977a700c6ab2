//! The log of a service: cursors go on from it exactly or say why not, it is bounded, and what else others do to it or to the scripts does no harm.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use registry_core::{Cursor, Epoch, Instance, Registry, ResetCause, Revision, Snapshot, WatchEvent};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Redis, Reply};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, info, instance, key, lasting, registry, server, user, weighing,
};

/// How soon views must be right.
const RIGHT: Duration = Duration::from_secs(3);

/// The first `Reset` of a watch from `cursor`, or `None` when it says `Live` first.
async fn reset_from(registry: &RedisRegistry, cursor: Cursor) -> Option<ResetCause> {
    let mut watch = registry.watch(&user(), Some(cursor));
    loop {
        match timeout(PATIENCE, watch.next()).await.expect("an item").unwrap() {
            WatchEvent::Reset { cause, .. } => return Some(cause),
            WatchEvent::Live { .. } => return None,
            _ => {}
        }
    }
}

/// A service at revision 11, and what lookups gave at each revision.
async fn written(client: &RedisRegistry) -> Vec<Snapshot> {
    let lease = client.register(&instance(1), &lasting()).await.unwrap().lease;
    let mut snapshots = vec![client.lookup(&user()).await.unwrap()];
    for weight in 0..10 {
        client.update(&lease, &weighing(1, weight)).await.unwrap();
        snapshots.push(client.lookup(&user()).await.unwrap());
    }
    let revisions: Vec<_> = snapshots.iter().map(|snapshot| snapshot.revision().get()).collect();
    assert_eq!(revisions, (1..=11).collect::<Vec<_>>());
    snapshots
}

async fn number(redis: &Redis, words: &[&str]) -> u64 {
    match redis.command(words).await.unwrap() {
        Reply::Number(number) => u64::try_from(number).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_flushed_all_the_time_are_no_matter() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, watching) = (registry(redis.address()), registry(redis.address()));
    let record = Record::start(&watching).await;
    let mut acknowledged = Vec::new();
    let operations = async {
        for n in 0..100 {
            let registration = client.register(&instance(n), &lasting()).await.unwrap();
            acknowledged.push(registration.revision);
            client.keepalive(&registration.lease).await.unwrap();
            acknowledged.push(client.update(&registration.lease, &weighing(n, 7)).await.unwrap());
            assert!(client.lookup(&user()).await.unwrap().get(registration.lease.id()).is_some());
            if n % 2 == 0 {
                client.deregister(&registration.lease).await.unwrap();
            }
        }
    };
    let flushing = async {
        loop {
            redis.command(&["SCRIPT", "FLUSH", "SYNC"]).await.unwrap();
        }
    };
    tokio::select! {
        () = operations => {}
        () = flushing => {}
    }
    let stats = redis.command(&["INFO", "errorstats"]).await.unwrap().text();
    let unknown = stats.lines().find_map(|line| line.strip_prefix("errorstat_NOSCRIPT:count="));
    let unknown: u64 = unknown.expect("no flush bit").trim().parse().unwrap();
    assert!(unknown > 100, "{unknown} calls of scripts that were flushed");
    record.until_equal(&client, Instant::now() + RIGHT).await;
    record.require_whole(&acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_exactly_in_another_process() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let snapshots = written(&client).await;
    for from in &snapshots {
        let cursor: Cursor = from.cursor().to_string().parse().unwrap();
        let from = Snapshot::new(user(), cursor, from.iter().cloned());
        let at = from.revision().get();
        let record = Record::resume(&registry(redis.address()), from);
        record.until_equal(&client, Instant::now() + RIGHT).await;
        record.told(|told| {
            assert_eq!(told.resets, []);
            let revisions: Vec<_> = told.changes.iter().map(|(revision, _)| revision.get()).collect();
            assert_eq!(revisions, (at + 1..=11).collect::<Vec<_>>(), "from {at}");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_never_was_is_reset_and_disturbs_nobody() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let snapshots = written(&client).await;
    let bystander = Record::start(&registry(redis.address())).await;
    let own = Record::start(&client).await;
    let epoch = redis.command(&["HGET", &key(&user(), "head"), "epoch"]).await.unwrap();
    let (now, earlier) = (snapshots[10].cursor(), snapshots[4].cursor());
    let other = Epoch::new(now.epoch().get() ^ 1);
    let made_up = [
        Cursor::new(now.epoch(), Revision::new(1_000_000), now.proof()),
        Cursor::new(now.epoch(), now.revision(), now.proof() ^ 1),
        Cursor::new(now.epoch(), now.revision(), earlier.proof()),
        Cursor::new(now.epoch(), earlier.revision(), now.proof()),
        Cursor::new(now.epoch(), Revision::ZERO, now.proof()),
        Cursor::new(other, now.revision(), now.proof()),
        Cursor::new(Epoch::default(), Revision::ZERO, 0),
    ];
    for cursor in made_up {
        for client in [&client, &registry(redis.address())] {
            let reset = reset_from(client, cursor).await;
            assert!(reset.is_some_and(|cause| cause != ResetCause::First), "{cursor}: {reset:?}");
        }
    }
    // As long as a bystander takes to notice another epoch.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(redis.command(&["HGET", &key(&user(), "head"), "epoch"]).await.unwrap(), epoch);
    for record in [&bystander, &own] {
        record.told(|told| assert_eq!((&told.resets[..], told.stale), (&[ResetCause::First][..], false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_before_what_was_trimmed_is_compacted_and_one_at_the_edge_goes_on() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let snapshots = written(&client).await;
    let bystander = Record::start(&registry(redis.address())).await;
    let log = key(&user(), "log");
    let at = |revision: usize| snapshots[revision - 1].cursor();
    assert_eq!(reset_from(&client, at(4)).await, None);
    let trimmed = number(&redis, &["XTRIM", &log, "MINID", "=", "6-0"]).await;
    assert_eq!(trimmed, 5, "revisions 1 to 5");
    for (revision, expected) in
        [(1, Some(ResetCause::Compacted)), (4, Some(ResetCause::Compacted)), (5, None), (6, None), (11, None)]
    {
        for client in [&client, &registry(redis.address())] {
            assert_eq!(reset_from(client, at(revision)).await, expected, "from {revision}");
        }
    }
    assert_eq!(number(&redis, &["XTRIM", &log, "MAXLEN", "=", "0"]).await, 6);
    for (revision, expected) in [(10, Some(ResetCause::Compacted)), (11, None)] {
        assert_eq!(reset_from(&client, at(revision)).await, expected, "from {revision}, without a log");
    }
    let later = client.register(&instance(2), &lasting()).await.unwrap();
    bystander.until_revision(later.revision, PATIENCE).await;
    bystander.require_whole(&[later.revision]);
}

/// Updates one instance so often, many at a time.
async fn update_often(client: &RedisRegistry, instance: impl Fn(u32) -> Instance, times: u32) {
    let lease = client.register(&instance(0), &lasting()).await.unwrap().lease;
    let updates = stream::iter(0..times).map(|n| {
        let changed = instance(n);
        let lease = &lease;
        async move { client.update(lease, &changed).await }
    });
    updates.buffered(32).for_each(async |outcome| assert!(outcome.is_ok(), "{outcome:?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded_in_entries_and_memory_stays_flat() {
    let redis = Redis::start(server()).await.unwrap();
    let options = RedisOptions::standalone(redis.address().to_string()).with_history(1_000);
    let client = RedisRegistry::new(options).unwrap();
    let log = key(&user(), "log");
    let weighed = |n: u32| weighing(1, n % 10_000);
    update_often(&client, weighed, 3_000).await;
    let memory = info(&redis, "used_memory_dataset").await;
    update_often(&client, weighed, 27_000).await;
    let grown = info(&redis, "used_memory_dataset").await.saturating_sub(memory);
    let length = number(&redis, &["XLEN", &log]).await;
    let revision = client.lookup(&user()).await.unwrap().revision().get();
    assert!(revision >= 29_000, "some updates were overtaken: {revision}");
    eprintln!("{length} entries at revision {revision}; {grown} bytes more than after 3,000 updates");
    assert!((1_000..=1_100).contains(&length), "{length} entries");
    assert!(grown < 256 << 10, "{grown} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded_in_bytes_where_entries_are_giants() {
    let redis = Redis::start(server()).await.unwrap();
    let client = registry(redis.address());
    let giant = |n: u32| {
        let mut giant = instance(1).to_builder().weight(n);
        for at in 0..15 {
            giant = giant.metadata(format!("key-{at}"), "x".repeat(Instance::MAX_METADATA_VALUE));
        }
        giant.build().unwrap()
    };
    update_often(&client, giant, 700).await;
    let revision = client.lookup(&user()).await.unwrap().revision().get();
    assert!(revision > 600, "{revision}");
    let bytes = number(&redis, &["MEMORY", "USAGE", &key(&user(), "log"), "SAMPLES", "0"]).await;
    eprintln!("{bytes} bytes at revision {revision}");
    assert!((8 << 20..=20 << 20).contains(&bytes), "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_adds_to_the_log_makes_no_view_wrong() {
    let redis = Redis::start(server()).await.unwrap();
    let (client, other) = (registry(redis.address()), registry(redis.address()));
    let snapshots = written(&client).await;
    let records = [Record::start(&client).await, Record::start(&other).await];
    let log = key(&user(), "log");
    // At the next revision, far away, and what looks as if it followed.
    let nonce = redis.command(&["HGET", &key(&user(), "head"), "nonce"]).await.unwrap().text();
    let id = instance(1).id().to_string();
    let forged = ["nonce", "00000000000000ff", "previous", &nonce, "change", "left", "id", &id, "value", ""];
    for (round, (at, fields)) in
        [("12-0", &forged[..]), ("13-7", &["a", "b"]), ("*", &["a", "b"]), ("*", &forged)]
            .into_iter()
            .enumerate()
    {
        let added = redis.command(&[&["XADD", &log, at], fields].concat()).await.unwrap();
        assert!(!added.text().is_empty(), "it was added");
        // Whoever resumes now must not take it for a change.
        let resumed = Record::resume(&registry(redis.address()), snapshots[10].clone());
        let registration = client.register(&instance(2 + round), &lasting()).await.unwrap();
        let written = Instant::now();
        for record in records.iter().chain([&resumed]) {
            record.until_revision(registration.revision, RIGHT).await;
            record.until_equal(&client, written + RIGHT).await;
        }
        for record in &records {
            record.told(|told| {
                assert!(!told.gone.iter().any(|(gone, _)| *gone == id), "{at}: taken for a change")
            });
        }
    }
    eventually("the log goes on", RIGHT, async || (number(&redis, &["XLEN", &log]).await > 0).then_some(()))
        .await;
}
