//! Redis under sentinels.

use std::time::Duration;

use futures_util::future::join_all;
use registry_testing::servers::proxy::Faults;
use registry_testing::servers::redis::{Persistence, RedisOptions, RedisSentinel, Reply, SentinelOptions};
use registry_testing::servers::{ServerError, until};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{SOON, wait_all_gone, wait_for};

async fn start() -> RedisSentinel {
    RedisSentinel::start(SentinelOptions::default()).await.unwrap()
}

async fn partitionable() -> RedisSentinel {
    RedisSentinel::start(SentinelOptions::default().with_replica_proxies()).await.unwrap()
}

async fn set(group: &RedisSentinel, node: usize, value: &str) {
    group.command(node, &["SET", "key", value]).await.unwrap();
}

async fn get(group: &RedisSentinel, node: usize) -> String {
    group.command(node, &["GET", "key"]).await.unwrap().text()
}

/// Which address a sentinel tells.
async fn told(group: &RedisSentinel, sentinel: usize) -> String {
    let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", group.service_name()];
    let told = group.ask_sentinel(sentinel, &question).await.unwrap();
    told.list().iter().map(Reply::text).collect::<Vec<_>>().join(":")
}

#[tokio::test]
async fn a_group_that_has_started_is_in_sync_and_leaves_nothing() {
    let begun = Instant::now();
    let group = start().await;
    println!("a group under sentinels: {:?}", begun.elapsed());
    assert_eq!(group.primary().await.unwrap(), 0);
    for sentinel in 0..3 {
        assert_eq!(told(&group, sentinel).await, group.addresses()[0].to_string());
        TcpStream::connect(group.sentinel_addresses()[sentinel]).await.unwrap();
    }
    set(&group, 0, "value").await;
    group.wait_in_sync().await.unwrap();
    for node in 0..3 {
        assert_eq!(get(&group, node).await, "value");
    }
    group.wipe().await.unwrap();
    for node in 0..3 {
        assert_eq!(get(&group, node).await, "");
    }
    let error = group.command(1, &["SET", "key", "value"]).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    let servers = group.nodes().chain((0..3).map(|sentinel| group.sentinel(sentinel)));
    let folders: Vec<_> = servers.map(|server| server.process().folder().path().to_owned()).collect();
    assert_eq!(folders.len(), 6);
    drop(group);
    for folder in folders {
        wait_all_gone(&folder).await;
    }
}

#[tokio::test]
async fn a_primary_that_is_killed_or_paused_is_replaced_and_comes_back_as_a_replica() {
    join_all([true, false].map(|killed| async move {
        let group = start().await;
        set(&group, 0, "before").await;
        group.wait_in_sync().await.unwrap();
        if killed {
            group.kill(0).await.unwrap()
        } else {
            group.pause(0).await.unwrap()
        }
        let begun = Instant::now();
        let new = group.wait_new_primary(0).await.unwrap();
        println!("a new primary: {:?}", begun.elapsed());
        assert_eq!(get(&group, new).await, "before");
        set(&group, new, "meanwhile").await;
        if killed {
            group.restart(0).await.unwrap()
        } else {
            group.resume(0).await.unwrap()
        }
        let begun = Instant::now();
        group.wait_in_sync().await.unwrap();
        println!("the old one is a replica: {:?}", begun.elapsed());
        assert_eq!(get(&group, 0).await, "meanwhile");
        assert_eq!(group.primary().await.unwrap(), new);
    }))
    .await;
}

#[tokio::test]
async fn a_fail_over_gives_the_primary_that_takes_writes_again_and_again() {
    let group = start().await;
    let mut old = 0;
    for n in 0..2 {
        set(&group, old, &n.to_string()).await;
        group.wait_in_sync().await.unwrap();
        let begun = Instant::now();
        let new = group.fail_over().await.unwrap();
        println!("a fail-over: {:?}", begun.elapsed());
        assert_ne!(new, old);
        assert_eq!(get(&group, new).await, n.to_string());
        set(&group, new, "it takes writes").await;
        old = new;
    }
    group.sentinel(0).kill().await.unwrap();
    assert_ne!(group.fail_over().await.unwrap(), old, "a majority of the sentinels will do");
}

#[tokio::test]
async fn a_primary_that_dies_in_a_partition_takes_what_it_acknowledged_with_it() {
    let group = partitionable().await;
    set(&group, 0, "replicated").await;
    group.wait_in_sync().await.unwrap();
    assert!(group.partition_replicas());
    set(&group, 0, "lost").await;
    wait_for("bytes are lost", || group.swallowed() > 0).await;
    group.kill(0).await.unwrap();
    let new = group.wait_new_primary(0).await.unwrap();
    assert_eq!(get(&group, new).await, "replicated");
    group.heal();
    group.wait_in_sync().await.unwrap();
}

#[tokio::test]
async fn an_isolated_primary_goes_on_beside_the_new_one_until_it_learns_of_it() {
    let group = partitionable().await;
    assert!(group.isolate(0));
    let new = group.wait_new_primary(0).await.unwrap();
    set(&group, 0, "lost").await;
    set(&group, new, "kept").await;
    assert_eq!(get(&group, 0).await, "lost", "clients still reach it");
    group.heal();
    group.wait_in_sync().await.unwrap();
    assert_eq!(get(&group, 0).await, "kept");
}

#[tokio::test]
async fn one_way_of_a_partition_can_stay_open() {
    let group = partitionable().await;
    assert!(group.block(0, 1));
    set(&group, 0, "value").await;
    wait_for("bytes are lost", || group.swallowed() > 0).await;
    let arrives = || async { (get(&group, 2).await == "value").then_some(()) };
    until("the other replica has it", SOON, arrives).await.unwrap();
    assert_eq!(get(&group, 1).await, "");
    group.heal();
    group.wait_in_sync().await.unwrap();
    assert_eq!(get(&group, 1).await, "value");
}

#[tokio::test]
async fn without_proxies_there_is_no_partition() {
    let group = start().await;
    assert!(!group.partition_replicas() && !group.isolate(0) && !group.block(0, 1));
    assert_eq!(group.swallowed(), 0);
    assert!(group.client_proxies().is_empty() && group.sentinel_proxies().is_empty());
}

#[tokio::test]
async fn clients_are_told_proxies_and_all_else_goes_past_them() {
    let node = RedisOptions::default().with_client_proxy();
    let group = RedisSentinel::start(SentinelOptions::default().with_node(node)).await.unwrap();
    assert_eq!(told(&group, 0).await, group.addresses()[0].to_string());
    assert_eq!(group.node(0).address(), group.addresses()[0]);
    for proxy in group.client_proxies().iter().chain(group.sentinel_proxies()) {
        proxy.set(Faults::black_hole()).await;
    }
    assert_eq!(group.sentinel_addresses()[0], group.sentinel_proxies()[0].address());
    set(&group, 0, "value").await;
    group.wait_in_sync().await.unwrap();
    let new = group.fail_over().await.unwrap();
    assert_eq!(told(&group, 1).await, group.addresses()[new].to_string());
    assert_eq!(group.client_proxies()[new].counters().accepted, 0, "none of this was a client");
    let _client = TcpStream::connect(group.addresses()[new]).await.unwrap();
    wait_for("the client is seen", || group.client_proxies()[new].counters().accepted == 1).await;
}

#[tokio::test]
async fn what_survives_a_restart_of_all_is_what_the_persistence_says() {
    let cases = [(Persistence::None, ""), (Persistence::EveryWrite, "value")];
    join_all(cases.map(|(persistence, kept)| async move {
        let node = RedisOptions::default().with_persistence(persistence);
        let group = RedisSentinel::start(SentinelOptions::default().with_node(node)).await.unwrap();
        let primary = group.fail_over().await.unwrap();
        set(&group, primary, "value").await;
        group.wait_in_sync().await.unwrap();
        let begun = Instant::now();
        group.restart_all().await.unwrap();
        println!("a restart of all: {:?}", begun.elapsed());
        let primary = group.primary().await.unwrap();
        for node in 0..3 {
            assert_eq!(get(&group, node).await, kept, "{persistence:?}");
        }
        set(&group, primary, "it takes writes").await;
    }))
    .await;
}

#[tokio::test]
async fn a_lost_node_stays_lost_and_the_others_go_on() {
    let node = RedisOptions::default().with_persistence(Persistence::EveryWrite);
    let group = RedisSentinel::start(SentinelOptions::default().with_node(node)).await.unwrap();
    set(&group, 0, "value").await;
    group.wait_in_sync().await.unwrap();
    group.lose(0).await.unwrap();
    assert!(!group.node(0).process().folder().data().exists());
    let new = group.wait_new_primary(0).await.unwrap();
    assert_eq!(get(&group, new).await, "value");
    let error = group.restart(0).await.unwrap_err();
    assert!(error.to_string().contains("lost for good"), "{error}");
    group.restart_all().await.unwrap();
    assert!(!group.node(0).process().is_running());
    assert_eq!(get(&group, group.primary().await.unwrap()).await, "value");
}

#[tokio::test]
async fn without_a_majority_of_the_sentinels_there_is_no_primary() {
    let mut options = SentinelOptions::default();
    options.node.patience = Duration::from_secs(4);
    let group = RedisSentinel::start(options).await.unwrap();
    group.sentinel(0).kill().await.unwrap();
    assert_eq!(group.primary().await.unwrap(), 0);
    group.sentinel(1).pause().await.unwrap();
    let error = group.primary().await.unwrap_err();
    assert!(matches!(error, ServerError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("role:master"), "it says how things are: {error}");
    group.restart_sentinel(0).await.unwrap();
    assert_eq!(group.primary().await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_group_stays_full_over_a_fail_over() {
    let group = start().await;
    group.fill().await.unwrap();
    let new = group.fail_over().await.unwrap();
    let error = group.command(new, &["SET", "key", "value"]).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    group.make_room().await.unwrap();
    set(&group, new, "value").await;
}

#[tokio::test]
async fn options_reach_the_servers() {
    let node = RedisOptions::default().with_args(["--hz", "50"]);
    let options = SentinelOptions::default().with_node(node).with_replicas(1).with_min_replicas_to_write(1);
    let options =
        options.with_timing(Duration::from_millis(4321), Duration::from_millis(5432)).with_hasty(false);
    let group = RedisSentinel::start(options).await.unwrap();
    assert_eq!(group.nodes().len(), 2);
    let hz = group.command(1, &["CONFIG", "GET", "hz"]).await.unwrap();
    assert_eq!(hz.list()[1].text(), "50");
    let known = group.ask_sentinel(2, &["SENTINEL", "MASTER", group.service_name()]).await.unwrap();
    let known = known.list().iter().map(Reply::text).collect::<Vec<_>>().join(" ");
    assert!(
        known.contains("down-after-milliseconds 4321") && known.contains("failover-timeout 5432"),
        "{known}"
    );
    let periods = group.ask_sentinel(2, &["SENTINEL", "DEBUG"]).await.unwrap();
    let periods = periods.list().iter().map(Reply::text).collect::<Vec<_>>().join(" ");
    assert!(periods.contains("PUBLISH-PERIOD 2000"), "not hastened: {periods}");
    set(&group, 0, "value").await;
    group.kill(1).await.unwrap();
    let error = group.command(0, &["SET", "key", "value"]).await.unwrap_err();
    assert!(error.to_string().contains("NOREPLICAS"), "{error}");
}
