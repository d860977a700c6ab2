//! Who lost an entry learns it within one heartbeat, though the lease still renews.

use std::time::Duration;

use registry_core::{RegistrarState, Registry};
use registry_etcd::Layout;
use registry_testing::servers::etcd::Etcd;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, eventually, instance, lasting, raw_keys, registrar, registry_in, server, user,
};

const TTL: u64 = 9;
/// A third of the TTL, and an answer.
const HEARTBEAT: Duration = Duration::from_millis(3_500);

async fn taken_over(layout: Layout) {
    let etcd = Etcd::start(server()).await.unwrap();
    let (old, new) = (registry_in(layout, [etcd.endpoint()]), registry_in(layout, [etcd.endpoint()]));
    let serving = registrar(&old, 1, TTL);
    let registration = timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let taken = new.register(&instance(1), &lasting()).await.unwrap();
    let fenced = async || matches!(*serving.state(), RegistrarState::Fenced { .. }).then_some(());
    eventually("the old owner is fenced", HEARTBEAT, fenced).await;
    // The proof that the lease alone would not have told: etcd renews it still.
    let id = i64::try_from(registration.lease.key()).unwrap();
    let renewed = etcd.ask("/v3/lease/keepalive", json!({ "ID": id.to_string() })).await.unwrap();
    assert!(renewed["result"]["TTL"].as_str().is_some(), "{renewed}");
    let listed = new.lookup(&user()).await.unwrap();
    assert_eq!(listed.get(instance(1).id()).unwrap().incarnation(), taken.lease.incarnation());
    new.keepalive(&taken.lease).await.unwrap();
    if layout == Layout::GoZero {
        assert_eq!(raw_keys(&etcd, "user.rpc/").await.len(), 1, "the old address is gone");
    }
}

/// `keys` says which keys the operator deletes.
async fn deleted(layout: Layout, keys: &str) {
    let etcd = Etcd::start(server()).await.unwrap();
    let client = registry_in(layout, [etcd.endpoint()]);
    let serving = registrar(&client, 1, TTL);
    let registration = timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    for kv in raw_keys(&etcd, keys).await {
        etcd.delete(&kv.key).await.unwrap();
    }
    let begun = Instant::now();
    assert!(client.lookup(&user()).await.unwrap().is_empty(), "what an operator deleted is not listed");
    let back = async || {
        let listed = client.lookup(&user()).await.unwrap();
        (listed.len() == 1 && listed.revision() > registration.revision).then_some(())
    };
    eventually("the owner puts it back", HEARTBEAT, back).await;
    eprintln!("back after {:?}", begun.elapsed());
    serving.shutdown().await.unwrap();
    assert!(raw_keys(&etcd, keys).await.is_empty(), "no second key was left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_learnt_within_one_heartbeat() {
    taken_over(Layout::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_learnt_within_one_heartbeat_in_go_zeros_layout() {
    taken_over(Layout::GoZero).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_delete_is_learnt_within_one_heartbeat() {
    deleted(Layout::Json, "/registry/user.rpc/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_delete_of_an_address_is_learnt_within_one_heartbeat_in_go_zeros_layout() {
    deleted(Layout::GoZero, "user.rpc/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_delete_of_what_lies_beside_it_is_learnt_within_one_heartbeat_in_go_zeros_layout() {
    deleted(Layout::GoZero, "user.rpc.~meta/").await;
}
