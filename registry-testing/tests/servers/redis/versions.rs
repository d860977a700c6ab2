//! The same control over the other installed versions.

use std::path::PathBuf;

use registry_testing::servers::redis::{
    ClusterOptions, Failover, Persistence, Redis, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
    redis_8, valkey_8_1,
};

/// Each with the line by which it says in `INFO server` what it is.
fn versions() -> [(PathBuf, &'static str); 2] {
    [(redis_8().unwrap(), "redis_version:8."), (valkey_8_1().unwrap(), "valkey_version:8.1.")]
}

async fn assert_is(redis: &Redis, version: &str) {
    let info = redis.command(&["INFO", "server"]).await.unwrap().text();
    assert!(info.lines().any(|line| line.starts_with(version)), "{version} is not in {info}");
}

#[tokio::test]
async fn other_versions_keep_save_and_restore_what_was_acknowledged() {
    for (program, version) in versions() {
        for persistence in [Persistence::Snapshots, Persistence::EveryWrite] {
            let options = RedisOptions::default().with_program(&program).with_persistence(persistence);
            let redis = Redis::start(options.with_clock()).await.unwrap();
            assert_is(&redis, version).await;
            redis.command(&["SET", "key", "old"]).await.unwrap();
            let snapshot = redis.save().await.unwrap();
            redis.command(&["SET", "key", "new"]).await.unwrap();
            redis.stop().await.unwrap();
            redis.restart().await.unwrap();
            let kept = if persistence == Persistence::Snapshots { "old" } else { "new" };
            assert_eq!(redis.command(&["GET", "key"]).await.unwrap().text(), kept, "{version}");
            redis.restore(&snapshot).await.unwrap();
            assert_eq!(redis.command(&["GET", "key"]).await.unwrap().text(), "old", "{version}");
            redis.fill().await.unwrap();
            redis.command(&["SET", "key", "full"]).await.unwrap_err();
            redis.make_room().await.unwrap();
            redis.command(&["SET", "key", "value", "PX", "60000"]).await.unwrap();
            redis.step_clock(120_000).unwrap();
            assert_eq!(redis.command(&["GET", "key"]).await.unwrap().text(), "", "{version}");
        }
    }
}

#[tokio::test]
async fn other_versions_fail_over_under_sentinels() {
    for (program, version) in versions() {
        let node = RedisOptions::default().with_program(&program);
        let options = SentinelOptions::default().with_node(node).with_replica_proxies();
        let group = RedisSentinel::start(options).await.unwrap();
        for server in group.nodes().chain([group.sentinel(0)]) {
            assert_is(server, version).await;
        }
        group.command(0, &["SET", "key", "replicated"]).await.unwrap();
        group.wait_in_sync().await.unwrap();
        assert!(group.partition_replicas());
        group.command(0, &["SET", "key", "lost"]).await.unwrap();
        group.kill(0).await.unwrap();
        let new = group.wait_new_primary(0).await.unwrap();
        assert_eq!(group.command(new, &["GET", "key"]).await.unwrap().text(), "replicated", "{version}");
        group.heal();
        group.restart(0).await.unwrap();
        group.wait_in_sync().await.unwrap();
        group.fail_over().await.unwrap();
        group.restart_all().await.unwrap();
    }
}

#[tokio::test]
async fn other_versions_form_a_cluster_that_fails_over_and_moves_slots() {
    for (program, version) in versions() {
        let node = RedisOptions::default().with_program(&program).with_persistence(Persistence::EveryWrite);
        let cluster = RedisCluster::start(ClusterOptions::default().with_node(node)).await.unwrap();
        for node in cluster.nodes() {
            assert_is(node, version).await;
        }
        let owner = cluster.owner_of("key").await.unwrap();
        cluster.command(owner, &["SET", "key", "value"]).await.unwrap();
        cluster.wait_in_sync().await.unwrap();
        let owner = cluster.fail_over(owner, Failover::Plain).await.unwrap();
        let to = *cluster.primaries().await.iter().find(|node| **node != owner).unwrap();
        cluster.wait_ok().await.unwrap();
        cluster.migrate_slot(cluster.slot_of("key"), to).await.unwrap();
        assert_eq!(cluster.owner_of("key").await.unwrap(), to);
        cluster.wait_in_sync().await.unwrap();
        cluster.kill(to).await.unwrap();
        let new = cluster.fail_over(to, Failover::Takeover).await.unwrap();
        assert_eq!(cluster.command(new, &["GET", "key"]).await.unwrap().text(), "value", "{version}");
        cluster.restart_all().await.unwrap();
    }
}
