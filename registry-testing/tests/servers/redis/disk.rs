//! Power cuts: what Redis keeps through one is what it has synced. These tests need root.

use std::fs;

use futures_util::future::join_all;
use registry_testing::servers::redis::{
    ClusterOptions, Persistence, Redis, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
};

async fn start(persistence: Persistence) -> Redis {
    Redis::start(RedisOptions::default().with_persistence(persistence).with_disk()).await.unwrap()
}

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.command(&["SET", key, value]).await.unwrap();
}

async fn get(redis: &Redis, key: &str) -> String {
    redis.command(&["GET", key]).await.unwrap().text()
}

#[tokio::test]
async fn with_every_write_synced_a_power_cut_loses_nothing() {
    let redis = start(Persistence::EveryWrite).await;
    let unsynced = redis.process().folder().data().join("unsynced");
    for life in ["1", "2", "3"] {
        for n in 0..50 {
            set(&redis, &format!("key{n}"), life).await;
        }
        fs::write(&unsynced, "content").unwrap();
        redis.restart().await.unwrap();
        assert_eq!(fs::read_to_string(&unsynced).unwrap(), "content", "a SIGKILL is not a power cut");
        set(&redis, "last", life).await;
        let address = redis.address();
        redis.power_cut().await.unwrap();
        assert_eq!(fs::read_to_string(&unsynced).unwrap_or_default(), "", "the cut did not bite");
        assert_eq!(redis.address(), address);
        for key in (0..50).map(|n| format!("key{n}")).chain(["last".to_owned()]) {
            assert_eq!(get(&redis, &key).await, life, "{key}");
        }
    }
}

/// The positive control of the test above.
#[tokio::test]
async fn without_syncs_a_power_cut_loses_what_a_kill_does_not() {
    // `everysec` would sync at a moment that no test can foresee.
    let options = RedisOptions::default().with_persistence(Persistence::EverySecond).with_disk();
    let redis = Redis::start(options.with_args(["--appendfsync", "no"])).await.unwrap();
    set(&redis, "key", "acknowledged").await;
    redis.restart().await.unwrap();
    assert_eq!(get(&redis, "key").await, "acknowledged");
    set(&redis, "other", "acknowledged").await;
    redis.power_cut().await.unwrap();
    assert_eq!(get(&redis, "other").await, "");
}

#[tokio::test]
async fn a_saved_dump_survives_a_power_cut() {
    let redis = start(Persistence::Snapshots).await;
    for value in ["1", "2"] {
        set(&redis, "key", value).await;
        redis.command(&["SAVE"]).await.unwrap();
        set(&redis, "key", "not saved").await;
        redis.power_cut().await.unwrap();
        assert_eq!(get(&redis, "key").await, value);
    }
}

#[tokio::test]
async fn without_a_disk_a_power_cut_is_refused_and_it_runs_on() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let error = redis.power_cut().await.unwrap_err();
    assert!(error.to_string().contains("not on a disk of their own"), "{error}");
    assert_eq!(redis.command(&["PING"]).await.unwrap().text(), "PONG");
}

#[tokio::test]
async fn a_group_keeps_what_it_synced_through_a_power_cut_of_all() {
    join_all([("always", "acknowledged"), ("no", "")].map(|(sync, kept)| async move {
        let node = RedisOptions::default().with_persistence(Persistence::EveryWrite).with_disk();
        let node = node.with_args(["--appendfsync", sync]);
        let group = RedisSentinel::start(SentinelOptions::default().with_node(node)).await.unwrap();
        group.command(0, &["SET", "key", "acknowledged"]).await.unwrap();
        group.wait_in_sync().await.unwrap();
        group.power_cut().await.unwrap();
        let primary = group.primary().await.unwrap();
        assert_eq!(group.command(primary, &["GET", "key"]).await.unwrap().text(), kept, "{sync}");
    }))
    .await;
}

#[tokio::test]
async fn a_cluster_keeps_what_it_synced_through_a_power_cut_of_all() {
    let node = RedisOptions::default().with_persistence(Persistence::EveryWrite).with_disk();
    let cluster = RedisCluster::start(ClusterOptions::default().with_node(node)).await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    cluster.command(owner, &["SET", "key", "acknowledged"]).await.unwrap();
    cluster.power_cut().await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    assert_eq!(cluster.command(owner, &["GET", "key"]).await.unwrap().text(), "acknowledged");
}
