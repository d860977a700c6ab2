//! What clients cost when nothing happens, and what is left when they go.

use std::time::Duration;

use registry_core::Registry;
use registry_testing::servers::etcd::Etcd;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::support::{ALONE, PATIENCE, Record, eventually, instance, lasting, registry, server};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_idle_watches_cost_one_request_a_second_and_leave_nothing_behind() {
    const WATCHES: usize = 200;
    let _alone = ALONE.lock().await;
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry([etcd.endpoint()]);
    registry.register(&instance(1), &lasting()).await.unwrap();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut records = Vec::new();
    for _ in 0..WATCHES {
        records.push(Record::start(&registry).await);
    }
    let watchers = async || etcd.metric("etcd_debugging_mvcc_watcher_total").await.unwrap();
    assert!(watchers().await >= WATCHES as f64);

    let started = async |method: &str| {
        etcd.metric(&format!("grpc_server_started_total{{grpc_method=\"{method}\"")).await.unwrap()
    };
    let requests = async || started("Range").await + started("Txn").await + started("Watch").await;
    let first = requests().await;
    // The thing itself: nothing happens.
    sleep(Duration::from_secs(5)).await;
    let cost = requests().await - first;
    eprintln!("{WATCHES} idle watches: {cost} requests in 5 s");
    assert!((3.0..=8.0).contains(&cost), "{cost} requests in 5 s");
    for record in &records {
        record.told(|told| assert!(!told.stale && told.resets.len() == 1));
    }

    records.clear();
    eventually("no watch is left in etcd", PATIENCE, async || (watchers().await == 0.0).then_some(())).await;
    eventually("no task is left here", PATIENCE, async || (tasks() <= before).then_some(())).await;
}
