//! Redis under sentinels, and a Redis cluster.

use std::collections::HashMap;

use registry_testing::servers::containers::{ContainerOptions, RedisContainer};
use registry_testing::servers::redis::{
    ClusterOptions, Failover, Persistence, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
};
use testcontainers::bollard::query_parameters::ListImagesOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use tokio::net::TcpStream;

type Group = RedisSentinel<RedisContainer>;
type Cluster = RedisCluster<RedisContainer>;

async fn set(group: &Group, node: usize, value: &str) {
    group.command(node, &["SET", "key", value]).await.unwrap();
}

async fn get(group: &Group, node: usize) -> String {
    group.command(node, &["GET", "key"]).await.unwrap().text()
}

#[tokio::test]
async fn a_group_fails_over_partitions_wipes_and_restarts() {
    let node = RedisOptions::default().with_persistence(Persistence::EveryWrite);
    let options = SentinelOptions::default().with_node(node).with_replica_proxies();
    let group = Group::start_in_containers(ContainerOptions::redis(), options).await.unwrap();
    set(&group, 0, "replicated").await;
    group.wait_in_sync().await.unwrap();
    TcpStream::connect(group.sentinel_addresses()[0]).await.unwrap();
    assert_eq!(group.node(0).address(), group.addresses()[0]);

    assert!(group.partition_replicas());
    set(&group, 0, "lost").await;
    group.kill(0).await.unwrap();
    let new = group.wait_new_primary(0).await.unwrap();
    assert_eq!(get(&group, new).await, "replicated");
    group.heal();
    group.restart(0).await.unwrap();
    group.wait_in_sync().await.unwrap();
    assert_eq!(get(&group, 0).await, "replicated");

    let new = group.fail_over().await.unwrap();
    set(&group, new, "kept").await;
    group.wait_in_sync().await.unwrap();
    group.restart_all().await.unwrap();
    let primary = group.primary().await.unwrap();
    assert_eq!(get(&group, primary).await, "kept");
    group.pause(primary).await.unwrap();
    let new = group.wait_new_primary(primary).await.unwrap();
    group.resume(primary).await.unwrap();
    group.wait_in_sync().await.unwrap();
    group.wipe().await.unwrap();
    assert_eq!(get(&group, primary).await, "");
    group.lose(primary).await.unwrap();
    group.restart(primary).await.unwrap_err();
    set(&group, new, "without it").await;
}

#[tokio::test]
async fn a_cluster_fails_over_moves_slots_and_restarts() {
    let node = RedisOptions::default().with_persistence(Persistence::EveryWrite);
    let options = ClusterOptions::default().with_node(node);
    let cluster = Cluster::start_in_containers(ContainerOptions::redis(), options).await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    cluster.command(owner, &["SET", "key", "value"]).await.unwrap();
    cluster.wait_in_sync().await.unwrap();
    let owner = cluster.fail_over(owner, Failover::Plain).await.unwrap();
    cluster.wait_ok().await.unwrap();
    let to = *cluster.primaries().await.iter().find(|node| **node != owner).unwrap();
    cluster.migrate_slot(cluster.slot_of("key"), to).await.unwrap();
    assert_eq!(cluster.owner_of("key").await.unwrap(), to);
    cluster.wait_in_sync().await.unwrap();
    cluster.kill(to).await.unwrap();
    let new = cluster.fail_over(to, Failover::Takeover).await.unwrap();
    assert_eq!(cluster.command(new, &["GET", "key"]).await.unwrap().text(), "value");
    cluster.restart_all().await.unwrap();
    assert_eq!(cluster.replica_of(new).await.unwrap(), to);
    cluster.wipe().await.unwrap();
    assert_eq!(cluster.command(new, &["GET", "key"]).await.unwrap().text(), "");
}

#[tokio::test]
async fn each_image_that_was_built_runs_and_is_the_version_it_says() {
    let filters = HashMap::from([("reference", vec!["registry-test/redis", "registry-test/valkey"])]);
    let filters = ListImagesOptionsBuilder::new().filters(&filters).build();
    let images = docker_client_instance().await.unwrap().list_images(Some(filters)).await.unwrap();
    let tags = images.into_iter().flat_map(|image| image.repo_tags);
    let images: Vec<_> = tags.filter(|image| !image.ends_with(":latest")).collect();
    assert!(images.len() > 2, "{images:?}");
    for image in images {
        let options = ContainerOptions::redis().with_image(&image);
        let redis = RedisContainer::start(options, Persistence::None).await.unwrap();
        let info = redis.command(&["INFO", "server"]).await.unwrap().text();
        let (name, version) = image.strip_prefix("registry-test/").unwrap().split_once(':').unwrap();
        let says = format!("{name}_version:{version}");
        assert!(info.lines().any(|line| line.starts_with(&says)), "{image}: {info}");
    }
}
