//! Whether the history is the same: what is only unknown costs nobody else anything.

use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use futures_util::{StreamExt, stream};
use registry_core::{Cursor, Registry, ResetCause, Revision, WatchEvent};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::Faults;
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Record, instance, lasting, registry, server, user};

/// The first `Reset` of a watch from `cursor`, or `None` when it says `Live` first.
async fn reset_from(registry: &EtcdRegistry, cursor: Cursor) -> Option<ResetCause> {
    let mut watch = registry.watch(&user(), Some(cursor));
    loop {
        match timeout(PATIENCE, watch.next()).await.expect("an item").unwrap() {
            WatchEvent::Reset { cause, .. } => return Some(cause),
            WatchEvent::Live { .. } => return None,
            _ => {}
        }
    }
}

/// An etcd with an instance, a watch that nothing may disturb, and the identity of the store.
async fn start() -> (Etcd, EtcdRegistry, Record, Option<Vec<u8>>) {
    let etcd = Etcd::start(server()).await.unwrap();
    let client = registry([etcd.endpoint()]);
    client.register(&instance(1), &lasting()).await.unwrap();
    let bystander = Record::start(&registry([etcd.endpoint()])).await;
    let identity = etcd.get("/registry/~store").await.unwrap();
    assert!(identity.is_some());
    (etcd, client, bystander, identity)
}

async fn undisturbed(etcd: &Etcd, bystander: &Record, identity: Option<Vec<u8>>) {
    assert_eq!(etcd.get("/registry/~store").await.unwrap(), identity, "another epoch for everybody");
    bystander.told(|told| assert_eq!(told.resets, [ResetCause::First]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_never_was_is_reset_and_disturbs_nobody() {
    let (etcd, client, bystander, identity) = start().await;
    let cursor = client.lookup(&user()).await.unwrap().cursor();
    let later = Revision::new(cursor.revision().get() + 1_000_000);
    let made_up = Cursor::new(cursor.epoch(), later, cursor.proof());
    assert_eq!(reset_from(&registry([etcd.endpoint()]), made_up).await, Some(ResetCause::Diverged));
    // As long as a bystander takes to notice another epoch.
    sleep(Duration::from_secs(2)).await;
    undisturbed(&etcd, &bystander, identity).await;
}

/// etcd does not show a deletion at the very revision up to which it is compacted.
async fn compaction_up_to_a_deletion(changed_later: bool) {
    let (etcd, client, bystander, identity) = start().await;
    let leaving = client.register(&instance(2), &lasting()).await.unwrap();
    let mut watch = client.watch(&user(), None);
    let first = timeout(PATIENCE, watch.next()).await.expect("an item").unwrap();
    assert!(matches!(&first, WatchEvent::Reset { snapshot, .. } if snapshot.len() == 2), "{first:?}");
    client.deregister(&leaving.lease).await.unwrap();
    let cursor = loop {
        if let WatchEvent::Changes(batch) = timeout(PATIENCE, watch.next()).await.expect("an item").unwrap() {
            break batch.cursor;
        }
    };
    drop(watch);
    etcd.compact().await.unwrap();
    if changed_later {
        client.register(&instance(3), &lasting()).await.unwrap();
    }
    // Some releases do show it.
    let reset = reset_from(&client, cursor).await;
    assert!(matches!(reset, None | Some(ResetCause::Compacted)), "{reset:?}");
    sleep(Duration::from_secs(2)).await;
    undisturbed(&etcd, &bystander, identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_up_to_a_deletion_is_compaction_and_disturbs_nobody() {
    compaction_up_to_a_deletion(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_up_to_a_deletion_with_changes_after_it_disturbs_nobody_either() {
    compaction_up_to_a_deletion(true).await;
}

/// A watch that resumes where its quiet service was last changed has much of others' history to go through, and etcd before 3.4.25 says at once that
/// it is through.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_service_in_a_busy_store_resumes_without_a_reset_and_disturbs_nobody() {
    let (etcd, client, bystander, identity) = start().await;
    let cursor = client.lookup(&user()).await.unwrap().cursor();
    let writer = Client::connect([etcd.endpoint()], None).await.unwrap();
    let noise = |_| {
        let mut writer = writer.clone();
        let ops: Vec<_> = (0..100).map(|key| TxnOp::put(format!("/noise/{key}"), "x", None)).collect();
        async move { writer.txn(Txn::new().and_then(ops)).await.unwrap() }
    };
    stream::iter(0..5_000).map(noise).buffer_unordered(8).for_each(|_| async {}).await;
    assert_eq!(reset_from(&client, cursor).await, None);
    undisturbed(&etcd, &bystander, identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_between_the_pages_of_a_lookup_is_no_error() {
    let etcd = Etcd::start(server().with_client_proxies()).await.unwrap();
    let client = EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]).with_page(1)).unwrap();
    for n in 0..20 {
        client.register(&instance(n), &lasting()).await.unwrap();
    }
    etcd.client_proxy().unwrap().set(Faults::default().with_latency(Duration::from_millis(20))).await;
    let looking = client.clone();
    let looking = tokio::spawn(async move { looking.lookup(&user()).await });
    // In the middle of the 20 pages.
    sleep(Duration::from_millis(300)).await;
    etcd.put("junk", "x").await.unwrap();
    etcd.compact().await.unwrap();
    assert_eq!(looking.await.unwrap().unwrap().len(), 20);
}
