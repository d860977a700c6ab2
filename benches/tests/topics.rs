//! Every topic can be measured: small, but with the servers, the clients and the figures of a long run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use benches::clients::{Client, RawEtcd, instance, ttl};
use benches::contest::Topic;
use benches::operator::Operation;
use benches::topics;
use benches::topics::stores::heartbeats::Heartbeats;
use benches::topics::stores::load::Loads;
use benches::topics::stores::operations::{Operations, Size};
use benches::topics::stores::watch::Watches;
use benches::topics::stores::{Server, Store, first, lab};
use benches::watchers::PutAndWatch;
use comparisons::contestants::{Contestant, Seen};
use comparisons::lab::{Lab, Scale};
use futures_util::StreamExt;
use tokio::time::timeout;

const SMALL: Size = Size { alone: 1, each: 1, many: 2, instances: 2, together: 1 };
/// The first one does not count.
const BLOCKS: usize = 2;

fn quick() -> Lab {
    let Lab { seed, etcd, redis, disk, .. } = lab();
    Lab::new(Scale::Quick, seed, etcd, redis, disk)
}

/// What each bar needs, and each arm has to give all of.
fn needed(topic: &dyn Topic) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut needed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for bar in topic.bars() {
        for arm in [Some(bar.ours), bar.theirs, bar.again, bar.less].into_iter().flatten() {
            needed.entry(arm).or_default().insert(bar.figure);
        }
    }
    needed
}

/// Plays each arm of a topic, and finds that it gives each figure that a bar needs.
async fn gives_its_figures(topic: &dyn Topic) {
    let (name, mut needed) = (topic.name(), needed(topic));
    let contest = topic.prepare(&quick()).await.unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
    for (of, mut arm) in contest.into_arms() {
        let mut missing = needed.remove(of).unwrap_or_default();
        for _ in 0..BLOCKS {
            let figures = arm.play().await.unwrap_or_else(|trouble| panic!("{name}, {of}: {trouble}"));
            for (figure, value) in &figures {
                assert!(value.is_finite() && *value >= 0.0, "{name}, {of}: {figure} is {value}");
                missing.remove(figure);
            }
        }
        assert!(missing.is_empty(), "{name}, {of} gives no {missing:?}");
    }
    assert!(needed.is_empty(), "{name} has no arm for {needed:?}");
}

async fn operations(store: Store) {
    for operation in Operation::ALL {
        gives_its_figures(&Operations::new(operation, store).with_size(SMALL)).await;
    }
}

async fn larger(store: Store) {
    gives_its_figures(&Heartbeats::new(store).with_leases(25)).await;
    let load = Loads::new(store).with_instances(1_001).with_program(env!("CARGO_BIN_EXE_benches"));
    gives_its_figures(&load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_on_etcd_gives_what_its_bars_need() {
    operations(Store::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_on_redis_gives_what_its_bars_need() {
    operations(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_loads_of_etcd_give_what_their_bars_need() {
    larger(Store::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_loads_of_redis_give_what_their_bars_need() {
    larger(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_give_what_their_bars_need() {
    for store in [Store::Etcd, Store::Redis] {
        gives_its_figures(&Watches::new(store)).await;
    }
    gives_its_figures(&*first::topic()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_while_nobody_reads_a_raw_watch_of_etcd_yet_is_told_of_and_does_not_wait_for_a_reader()
{
    let server = Server::installed(Store::Etcd).await.unwrap();
    let raw = PutAndWatch::connect(&server.url()).await.unwrap();
    let mut watching = raw.watch("user.rpc");
    let told = async {
        raw.register("user.rpc", "a", 1, ttl().get()).await.unwrap();
        watching.next().await
    };
    let told = timeout(Duration::from_secs(10), told).await.expect("nobody waits for ever");
    assert_eq!(told, Some(Seen::Change { id: "a".to_owned(), value: Some(1) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_put_writes_what_an_update_writes() {
    let server = Server::installed(Store::Etcd).await.unwrap();
    let mut client = RawEtcd::connect(&server.url()).await.unwrap();
    let mut written = Vec::new();
    let [one, other] = [100, 200].map(|weight| client.publish(&instance("user.rpc", 0, weight).unwrap()));
    let mut lease = client.register(&one).await.unwrap();
    for plain in [true, false] {
        if plain {
            client.put(&mut lease, &other).await.unwrap();
        } else {
            client.update(&mut lease, &other).await.unwrap();
        }
        let found = client.kv().get(lease.key.as_str(), None).await.unwrap();
        assert!(lease.holds(found.kvs().first()));
        written.push(found.kvs()[0].value().to_vec());
    }
    assert_eq!(written[0], written[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_store_gives_what_its_bars_need() {
    let needs_none = |name: &str| ["etcd", "redis"].iter().all(|store| !name.ends_with(store));
    let topics: Vec<_> = topics::all().into_iter().filter(|topic| needs_none(topic.name())).collect();
    assert_eq!(topics.len(), 6);
    for topic in topics {
        gives_its_figures(topic.as_ref()).await;
    }
}
