//! What is done to all servers of a group at once.

use std::time::Duration;

use futures_util::future::join_all;
use registry_testing::servers::redis::{
    ClusterOptions, Failover, Persistence, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
};
use tokio::time::timeout;

/// Longer than an answer takes.
const A_WHILE: Duration = Duration::from_millis(200);

fn node() -> RedisOptions {
    RedisOptions::default().with_persistence(Persistence::EveryWrite)
}

async fn group(node: RedisOptions) -> RedisSentinel {
    RedisSentinel::start(SentinelOptions::default().with_node(node)).await.unwrap()
}

async fn cluster(node: RedisOptions) -> RedisCluster {
    RedisCluster::start(ClusterOptions::default().with_node(node)).await.unwrap()
}

#[tokio::test]
async fn a_restore_of_a_group_goes_back_whichever_is_the_primary() {
    join_all([Persistence::None, Persistence::EveryWrite].map(|persistence| async move {
        let group = group(node().with_persistence(persistence)).await;
        group.command(0, &["SET", "key", "old"]).await.unwrap();
        let snapshot = group.save().await.unwrap();
        let new = group.fail_over().await.unwrap();
        group.command(new, &["SET", "key", "new"]).await.unwrap();
        group.wait_in_sync().await.unwrap();
        group.restore(&snapshot).await.unwrap();
        for node in 0..3 {
            assert_eq!(group.command(node, &["GET", "key"]).await.unwrap().text(), "old", "{persistence:?}");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_restore_of_a_cluster_goes_back_whichever_is_the_primary() {
    let cluster = cluster(node()).await;
    let owner = cluster.owner_of("key").await.unwrap();
    cluster.command(owner, &["SET", "key", "old"]).await.unwrap();
    let snapshot = cluster.save().await.unwrap();
    let owner = cluster.fail_over(owner, Failover::Plain).await.unwrap();
    cluster.command(owner, &["SET", "key", "new"]).await.unwrap();
    cluster.restore(&snapshot).await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    assert_eq!(cluster.command(owner, &["GET", "key"]).await.unwrap().text(), "old");
}

#[tokio::test]
async fn a_group_that_stands_still_loses_nothing_and_goes_on_with_the_same_primary() {
    let group = group(node()).await;
    let error = group.power_cut().await.unwrap_err();
    assert!(error.to_string().contains("not on a disk of their own"), "{error}");
    group.command(0, &["SET", "key", "value"]).await.unwrap();
    group.pause_all().await.unwrap();
    for node in 0..3 {
        assert!(timeout(A_WHILE, group.command(node, &["PING"])).await.is_err());
    }
    group.resume_all().await.unwrap();
    assert_eq!(group.primary().await.unwrap(), 0);
    assert_eq!(group.command(0, &["GET", "key"]).await.unwrap().text(), "value");
}

#[tokio::test]
async fn a_cluster_that_stands_still_loses_nothing() {
    let cluster = cluster(node()).await;
    let owner = cluster.owner_of("key").await.unwrap();
    cluster.command(owner, &["SET", "key", "value"]).await.unwrap();
    cluster.pause_all().await.unwrap();
    for node in 0..6 {
        assert!(timeout(A_WHILE, cluster.command(node, &["PING"])).await.is_err());
    }
    cluster.resume_all().await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    assert_eq!(cluster.command(owner, &["GET", "key"]).await.unwrap().text(), "value");
}
