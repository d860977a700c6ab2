//! A Redis cluster.

use std::time::Duration;

use registry_testing::servers::redis::{
    ClusterOptions, Failover, Persistence, RedisCluster, RedisOptions, Reply,
};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{wait_all_gone, wait_for};

async fn start() -> RedisCluster {
    RedisCluster::start(ClusterOptions::default()).await.unwrap()
}

async fn set(cluster: &RedisCluster, node: usize, key: &str, value: &str) {
    cluster.command(node, &["SET", key, value]).await.unwrap();
}

async fn get(cluster: &RedisCluster, node: usize, key: &str) -> String {
    cluster.command(node, &["GET", key]).await.unwrap().text()
}

async fn refusal(cluster: &RedisCluster, node: usize, words: &[&str]) -> String {
    cluster.command(node, words).await.unwrap_err().to_string()
}

async fn number_of_keys(cluster: &RedisCluster, node: usize) -> Reply {
    cluster.command(node, &["DBSIZE"]).await.unwrap()
}

#[tokio::test]
async fn a_cluster_that_has_started_is_well_and_leaves_nothing() {
    let begun = Instant::now();
    let cluster = start().await;
    println!("a cluster: {:?}", begun.elapsed());
    cluster.wait_ok().await.unwrap();
    assert_eq!(cluster.primaries().await, [0, 1, 2]);
    for (node, seed) in cluster.seeds().into_iter().enumerate() {
        TcpStream::connect(seed).await.unwrap();
        assert_eq!(cluster.node(node).address(), seed);
    }
    for key in ["key", "another", "{key}.tagged", "foo{}{bar}", "{", "}{x}"] {
        let slot = cluster.command(0, &["CLUSTER", "KEYSLOT", key]).await.unwrap();
        assert_eq!(Reply::Number(cluster.slot_of(key).into()), slot, "{key}");
        let owner = cluster.owner_of(key).await.unwrap();
        set(&cluster, owner, key, "value").await;
        let moved = refusal(&cluster, (owner + 1) % 3, &["GET", key]).await;
        let told = format!("MOVED {} {}", cluster.slot_of(key), cluster.seeds()[owner]);
        assert!(moved.contains(&told), "{moved} is not {told}");
        assert_eq!(cluster.replica_of(owner).await.unwrap(), owner + 3);
    }
    cluster.wait_in_sync().await.unwrap();
    for primary in 0..3 {
        assert_eq!(number_of_keys(&cluster, primary).await, number_of_keys(&cluster, primary + 3).await);
    }
    cluster.wipe().await.unwrap();
    for node in 0..6 {
        assert_eq!(number_of_keys(&cluster, node).await, Reply::Number(0));
    }
    let folders: Vec<_> = cluster.nodes().map(|node| node.process().folder().path().to_owned()).collect();
    assert_eq!(folders.len(), 6);
    drop(cluster);
    for folder in folders {
        wait_all_gone(&folder).await;
    }
}

#[tokio::test]
async fn a_fail_over_gives_the_new_owner_dead_or_alive_the_old_one() {
    let cluster = start().await;
    let mut owner = cluster.owner_of("key").await.unwrap();
    set(&cluster, owner, "key", "value").await;
    let other = (owner + 1) % 3;
    for how in [Failover::Plain, Failover::Takeover] {
        cluster.wait_ok().await.unwrap();
        cluster.wait_in_sync().await.unwrap();
        let begun = Instant::now();
        let new = cluster.fail_over(owner, how).await.unwrap();
        println!("a fail-over, {how:?}: {:?}", begun.elapsed());
        assert_ne!(new, owner);
        assert_eq!(cluster.owner_of("key").await.unwrap(), new);
        let moved = refusal(&cluster, other, &["GET", "key"]).await;
        assert!(moved.contains(&cluster.seeds()[new].to_string()), "{moved}");
        set(&cluster, new, "key", "value").await;
        owner = new;
    }
    cluster.wait_in_sync().await.unwrap();
    for how in [Failover::Force, Failover::Takeover] {
        cluster.kill(owner).await.unwrap();
        let begun = Instant::now();
        let new = cluster.fail_over(owner, how).await.unwrap();
        println!("a fail-over of a dead one, {how:?}: {:?}", begun.elapsed());
        assert_eq!(get(&cluster, new, "key").await, "value");
        cluster.restart(owner).await.unwrap();
        cluster.wait_ok().await.unwrap();
        cluster.wait_in_sync().await.unwrap();
        assert_eq!(cluster.replica_of(new).await.unwrap(), owner, "it is a replica now");
        owner = new;
    }
}

#[tokio::test]
async fn a_slot_moves_with_its_keys_while_it_is_served() {
    let cluster = start().await;
    let slot = cluster.slot_of("{t}");
    let from = cluster.owner_of_slot(slot).await.unwrap();
    let to = (from + 1) % 3;
    for n in 0..25 {
        set(&cluster, from, &format!("{{t}}{n}"), "value").await;
    }
    let migration = cluster.begin_migration(slot, to).await.unwrap();
    assert_eq!((migration.slot, migration.from, migration.to), (slot, from, to));
    let ask = refusal(&cluster, from, &["GET", "{t}none"]).await;
    assert!(ask.contains(&format!("ASK {slot} {}", cluster.seeds()[to])), "{ask}");
    assert_eq!(cluster.move_keys(&migration, 12).await.unwrap(), 12);
    assert_eq!(number_of_keys(&cluster, from).await, Reply::Number(13));
    let all = (0..25).map(|n| format!("{{t}}{n}")).collect::<Vec<_>>();
    let several = ["MGET"].into_iter().chain(all.iter().map(String::as_str)).collect::<Vec<_>>();
    let again = refusal(&cluster, from, &several).await;
    assert!(again.contains("TRYAGAIN"), "{again}");
    assert_eq!(cluster.owner_of_slot(slot).await.unwrap(), from);
    assert_eq!(cluster.move_keys(&migration, usize::MAX).await.unwrap(), 13);
    cluster.finish_migration(&migration).await.unwrap();
    assert_eq!(cluster.owner_of_slot(slot).await.unwrap(), to);
    assert_eq!(number_of_keys(&cluster, to).await, Reply::Number(25));
    cluster.wait_ok().await.unwrap();

    let begun = Instant::now();
    cluster.migrate_slot(slot, from).await.unwrap();
    println!("a slot of 25 keys: {:?}", begun.elapsed());
    assert_eq!(number_of_keys(&cluster, from).await, Reply::Number(25));
    let migration = cluster.begin_migration(slot, to).await.unwrap();
    cluster.abandon_migration(&migration).await.unwrap();
    set(&cluster, from, "{t}none", "value").await;
    cluster.wait_ok().await.unwrap();
}

#[tokio::test]
async fn a_dead_primary_is_replaced_and_a_paused_one_learns_of_it() {
    let cluster = start().await;
    let old = cluster.owner_of("key").await.unwrap();
    set(&cluster, old, "key", "before").await;
    cluster.wait_in_sync().await.unwrap();
    cluster.pause(old).await.unwrap();
    let begun = Instant::now();
    let new = cluster.fail_over(old, Failover::Force).await.unwrap();
    println!("a fail-over of a paused one: {:?}", begun.elapsed());
    set(&cluster, new, "key", "meanwhile").await;
    cluster.resume(old).await.unwrap();
    cluster.wait_ok().await.unwrap();
    cluster.wait_in_sync().await.unwrap();
    cluster.command(old, &["READONLY"]).await.unwrap();
    let moved = refusal(&cluster, old, &["SET", "key", "value"]).await;
    assert!(moved.contains("MOVED"), "{moved}");
    assert_eq!(number_of_keys(&cluster, old).await, Reply::Number(1));

    cluster.lose(new).await.unwrap();
    assert!(!cluster.node(new).process().folder().data().exists());
    let begun = Instant::now();
    cluster.wait_ok().await.unwrap();
    println!("well again by themselves: {:?}", begun.elapsed());
    assert_eq!(cluster.owner_of("key").await.unwrap(), old);
    assert_eq!(get(&cluster, old, "key").await, "meanwhile");
    let error = cluster.restart(new).await.unwrap_err();
    assert!(error.to_string().contains("lost for good"), "{error}");
    let error = cluster.replica_of(old).await.unwrap_err();
    assert!(error.to_string().contains("there is none"), "{error}");
}

#[tokio::test]
async fn what_survives_a_restart_of_all_is_what_the_persistence_says() {
    let node = RedisOptions::default().with_persistence(Persistence::EveryWrite);
    let cluster = RedisCluster::start(ClusterOptions::default().with_node(node)).await.unwrap();
    let owner = cluster.owner_of("key").await.unwrap();
    set(&cluster, owner, "key", "value").await;
    cluster.wait_in_sync().await.unwrap();
    let begun = Instant::now();
    cluster.restart_all().await.unwrap();
    println!("a restart of all: {:?}", begun.elapsed());
    let owner = cluster.owner_of("key").await.unwrap();
    assert_eq!(get(&cluster, owner, "key").await, "value");
    cluster.fill().await.unwrap();
    let full = refusal(&cluster, owner, &["SET", "key", "value"]).await;
    assert!(full.contains("OOM"), "{full}");
    let owner = cluster.fail_over(owner, Failover::Plain).await.unwrap();
    let full = refusal(&cluster, owner, &["SET", "key", "value"]).await;
    assert!(full.contains("OOM"), "{full}");
    cluster.make_room().await.unwrap();
    set(&cluster, owner, "key", "value").await;
}

#[tokio::test]
async fn an_isolated_primary_loses_what_it_takes_meanwhile() {
    let node = RedisOptions::default().with_client_proxy();
    let options = ClusterOptions::default().with_node(node).with_peer_proxies();
    let cluster = RedisCluster::start(options).await.unwrap();
    let old = cluster.owner_of("key").await.unwrap();
    set(&cluster, old, "key", "replicated").await;
    cluster.wait_in_sync().await.unwrap();
    assert!(cluster.isolate(old));
    set(&cluster, old, "key", "lost").await;
    wait_for("bytes are lost", || cluster.swallowed() > 0).await;
    let new = cluster.fail_over(old, Failover::Force).await.unwrap();
    assert_eq!(get(&cluster, new, "key").await, "replicated");
    cluster.heal();
    cluster.wait_ok().await.unwrap();
    cluster.wait_in_sync().await.unwrap();
    assert_eq!(cluster.owner_of("key").await.unwrap(), new);
    let proxies = cluster.client_proxies();
    assert_eq!(proxies.iter().map(|proxy| proxy.counters().accepted).sum::<u64>(), 0, "none was a client");
    let _client = TcpStream::connect(cluster.seeds()[new]).await.unwrap();
    wait_for("the client is seen", || proxies[new].counters().accepted == 1).await;
}

#[tokio::test]
async fn options_reach_the_servers() {
    let options = ClusterOptions::default().with_node_timeout(Duration::from_millis(4321));
    let options = options.with_node(RedisOptions::default().with_args(["--hz", "50"]));
    let cluster = RedisCluster::start(options.with_size(3, 0).with_full_coverage()).await.unwrap();
    assert_eq!(cluster.nodes().len(), 3);
    for (name, value) in
        [("cluster-node-timeout", "4321"), ("cluster-require-full-coverage", "yes"), ("hz", "50")]
    {
        let set = cluster.command(2, &["CONFIG", "GET", name]).await.unwrap();
        assert_eq!(set.list()[1].text(), value, "{name}");
    }
    assert!(!cluster.partition_replicas() && !cluster.isolate(0), "there are no proxies");
    let error = cluster.fail_over(0, Failover::Plain).await.unwrap_err();
    assert!(error.to_string().contains("there is none"), "{error}");
}
