//! Sizes: a service of 100,000 instances, a burst of 10,000 changes, 10,000 registrations of one client.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use futures_util::{StreamExt, stream};
use registry_core::codec::Stored;
use registry_core::resume::ResumeOptions;
use registry_core::{Incarnation, OwnerToken, RegisterOptions, Registry};
use registry_etcd::{EtcdOptions, EtcdRegistry, Layout};
use registry_testing::servers::etcd::Etcd;
use tokio::time::Instant;

use crate::support::{
    ALONE, PATIENCE, Record, instance, lasting, registry, registry_in, server, ttl, user, weighing,
};

/// In one transaction; etcd takes 128.
const TXN: usize = 100;

fn put(n: usize, weight: u32, lease: i64) -> TxnOp {
    let instance = weighing(n, weight);
    let key = format!("/registry/{}/{}", instance.service(), instance.id());
    let stored = Stored::new(instance, Incarnation::new(1), OwnerToken::from_u128(1));
    TxnOp::put(key, stored.encode(), Some(PutOptions::new().with_lease(lease)))
}

/// A raw client, and a lease that no test outlives.
async fn raw(etcd: &Etcd) -> (Client, i64) {
    let mut client = Client::connect([etcd.endpoint()], None).await.unwrap();
    let lease = client.lease_grant(3600, None).await.unwrap().id();
    (client, lease)
}

/// Puts `count` instances, many in a transaction.
async fn fill(client: &Client, count: usize, lease: i64) {
    let txn = |first: usize| {
        let mut client = client.clone();
        let ops: Vec<_> = (first..count.min(first + TXN)).map(|n| put(n, 100, lease)).collect();
        async move { client.txn(Txn::new().and_then(ops)).await.unwrap() }
    };
    stream::iter((0..count).step_by(TXN)).map(txn).buffer_unordered(8).for_each(|_| async {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_100_000_is_listed_whole_and_its_watch_survives_a_burst_of_10_000_changes() {
    const INSTANCES: usize = 100_000;
    const CHANGES: usize = 10_000;
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let (client, lease) = raw(&etcd).await;
    fill(&client, INSTANCES, lease).await;
    // Ten times as long as loading takes when compiled for speed.
    let resume = ResumeOptions::default().with_open_deadline(Duration::from_secs(60));
    let options = EtcdOptions::new([etcd.endpoint()]).with_resume(resume);
    let registry = EtcdRegistry::new(options).unwrap();
    let begun = Instant::now();
    let listed = registry.lookup(&user()).await.unwrap();
    eprintln!("{INSTANCES} instances listed in {:?}", begun.elapsed());
    assert_eq!(listed.len(), INSTANCES);
    assert_eq!(listed.skipped(), 0);

    let record = Record::start(&registry).await;
    let change = |n: usize| {
        let mut client = client.clone();
        async move {
            let txn = Txn::new().and_then([put(n * 7 % INSTANCES, 7, lease)]);
            let answer = client.txn(txn).await.unwrap();
            registry_core::Revision::new(answer.header().unwrap().revision() as u64)
        }
    };
    let begun = Instant::now();
    let acknowledged: Vec<_> = stream::iter(0..CHANGES).map(change).buffer_unordered(64).collect().await;
    let written = begun.elapsed();
    record.until_revision(*acknowledged.iter().max().unwrap(), PATIENCE).await;
    eprintln!("{CHANGES} changes written in {written:?}, told {:?} later", begun.elapsed() - written);
    record.require_whole(&acknowledged);
    record.told(|told| {
        let view = told.view.as_ref().unwrap();
        assert_eq!(view.len(), INSTANCES);
        assert_eq!(view.instances().filter(|instance| instance.weight().get() == 7).count(), CHANGES);
    });
}

/// Two instances, the first and the last of the pages, are changed in one transaction only: no lookup may see them differ.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_lookup_are_of_one_revision() {
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let (mut client, lease) = raw(&etcd).await;
    fill(&client, 250, lease).await;
    let (first, last) = (0, 249);
    let registry = EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]).with_page(10)).unwrap();
    let writing = tokio::spawn(async move {
        for weight in 0..500 {
            let both = [put(first, weight, lease), put(last, weight, lease)];
            client.txn(Txn::new().and_then(both)).await.unwrap();
        }
    });
    let mut weights = std::collections::BTreeSet::new();
    while !writing.is_finished() {
        let listed = registry.lookup(&user()).await.unwrap();
        assert_eq!(listed.len(), 250);
        let weight = |n: usize| listed.get(instance(n).id()).unwrap().instance().weight().get();
        assert_eq!(weight(first), weight(last));
        weights.insert(weight(first));
    }
    writing.await.unwrap();
    assert!(weights.len() > 3, "the writes came between the lookups: {weights:?}");
}

/// More than a message holds, however the pages are cut.
#[tokio::test(flavor = "multi_thread")]
async fn instances_of_the_greatest_size_are_listed_in_smaller_pages() {
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry([etcd.endpoint()]);
    for n in 0..100 {
        let mut large = instance(n).to_builder();
        for pair in 0..15 {
            large = large.metadata(format!("key-{pair:02}"), "x".repeat(4_000));
        }
        registry.register(&large.build().unwrap(), &lasting()).await.unwrap();
    }
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 100);
    let record = Record::start(&registry).await;
    record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeats_of_10_000_registrations_share_streams_and_requests() {
    const REGISTRATIONS: usize = 10_000;
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = Arc::new(registry([etcd.endpoint()]));
    let options = || RegisterOptions::new().with_ttl(ttl(600));
    let register = |n: usize| {
        let registry = Arc::clone(&registry);
        async move { registry.register(&instance(n), &options()).await.unwrap().lease }
    };
    let leases: Vec<_> = stream::iter(0..REGISTRATIONS).map(register).buffer_unordered(64).collect().await;

    let requests = async |method: &str| {
        etcd.metric(&format!("grpc_server_started_total{{grpc_method=\"{method}\"")).await.unwrap()
    };
    let (txns, streams) = (requests("Txn").await, requests("LeaseKeepAlive").await);
    let received = async || {
        let label = "grpc_server_msg_received_total{grpc_method=\"LeaseKeepAlive\"";
        etcd.metric(label).await.unwrap()
    };
    let (messages, cpu, begun) = (received().await, cpu_time(), Instant::now());
    // As registrars do: each on its own, side by side.
    let beat = |lease| {
        let registry = Arc::clone(&registry);
        async move { registry.keepalive(&lease).await.unwrap() }
    };
    stream::iter(leases).map(beat).buffer_unordered(512).for_each(|()| async {}).await;
    let (cpu, took) = (cpu_time() - cpu, begun.elapsed());
    let (txns, streams) = (requests("Txn").await - txns, requests("LeaseKeepAlive").await - streams);
    let messages = received().await - messages;
    let per_thousand = 1_000.0 / REGISTRATIONS as f64;
    eprintln!(
        "per 1,000 heartbeats: {:.0} messages on {streams} streams, {:.1} transactions, {:.1} ms of the client's CPU, {:.0} ms elapsed",
        messages * per_thousand,
        txns * per_thousand,
        cpu.as_secs_f64() * 1_000.0 * per_thousand,
        took.as_secs_f64() * 1_000.0 * per_thousand,
    );
    assert!(streams <= 2.0, "{streams} streams");
    assert!(messages >= REGISTRATIONS as f64, "{messages} heartbeats reached etcd");
    // The quicker the answers, the fewer wait to share the next one.
    assert!(txns <= REGISTRATIONS as f64 / 10.0, "{txns} transactions");
}

/// What this process has used. Says something about one test only when that runs alone.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths of a second (proc(5); USER_HZ is 100 on every Linux that Rust runs on).
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// In go-zero's layout the whole store may have to be looked through.
#[tokio::test(flavor = "multi_thread")]
async fn services_are_found_beside_large_values_and_many_keys_of_others() {
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry_in(Layout::GoZero, [etcd.endpoint()]);
    registry.register(&instance(1), &lasting()).await.unwrap();
    let large = vec![b'x'; 200_000];
    for n in 0..100 {
        etcd.put(format!("config/large-{n}"), &large).await.unwrap();
    }
    let (client, _) = raw(&etcd).await;
    let txn = |n: usize| {
        let mut client = client.clone();
        let ops: Vec<_> = (0..TXN).map(|key| TxnOp::put(format!("config/a/{n}-{key}"), "x", None)).collect();
        async move { client.txn(Txn::new().and_then(ops)).await.unwrap() }
    };
    stream::iter(0..200).map(txn).buffer_unordered(8).for_each(|_| async {}).await;
    let requests = async || etcd.metric("grpc_server_started_total{grpc_method=\"Range\"").await.unwrap();
    let before = requests().await;
    assert_eq!(registry.services("").await.unwrap(), [user()]);
    let asked = requests().await - before;
    // One for each thousand, and one for each that might be an address of a service `config`.
    assert!(asked <= 100.0 + 30.0, "{asked} requests for 20,100 keys of others");
}
