//! The store forgets, restarts, is emptied or put back while a client is cut off: a `Reset` with the right cause, the registrar is back within its
//! TTL, and nothing is left behind.

use std::time::Duration;

use registry_core::{RegistrarState, Registry, ResetCause};
use registry_etcd::Layout;
use registry_testing::servers::etcd::{Etcd, Snapshot};
use registry_testing::servers::proxy::{Faults, Proxy};
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, raw_keys, registrar, registry_in, server, user, weighing,
};

/// The registrar's TTL.
const TTL: u64 = 5;

/// Cuts a client off, does `meanwhile` to the store, and gives the client back: what it then tells must have `causes`. The snapshot is from before
/// the client's last changes.
async fn survive(layout: Layout, meanwhile: impl AsyncFn(&Etcd, &Snapshot), causes: &[ResetCause]) {
    let etcd = Etcd::start(server()).await.unwrap();
    let proxy = Proxy::start(etcd.client_address()).unwrap();
    let client = registry_in(layout, [format!("http://{}", proxy.address())]);
    let direct = registry_in(layout, [etcd.endpoint()]);
    let serving = registrar(&client, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&client).await;
    let old = etcd.save().await.unwrap();
    for weight in 0..20 {
        serving.update(weighing(1, weight)).await.unwrap();
    }
    let other = direct.register(&instance(2), &lasting()).await.unwrap();
    record.until_revision(other.revision, PATIENCE).await;

    proxy.set(Faults::refusing()).await;
    proxy.cut().await;
    eventually("the cut is noticed", PATIENCE, async || record.told(|told| told.stale.then_some(()))).await;
    meanwhile(&etcd, &old).await;
    proxy.heal().await;

    let back = async || {
        let snapshot = direct.lookup(&user()).await.ok()?;
        let there = snapshot.get(instance(1).id()).is_some_and(|entry| entry.instance().weight().get() == 19);
        (there && matches!(*serving.state(), RegistrarState::Registered { .. })).then_some(snapshot)
    };
    let listed =
        eventually("the registrar is back with its last value", Duration::from_secs(TTL), back).await;
    let same = async || {
        let view = record.told(|told| told.view.clone().filter(|_| !told.stale))?;
        view.iter().eq(listed.iter()).then_some(())
    };
    eventually("the view is what is there", PATIENCE, same).await;
    record.told(|told| assert_eq!(told.resets, causes));
    require_no_litter(&etcd, layout, &listed).await;

    // What was registered for good is there and stays; what was left is gone.
    sleep(Duration::from_secs(TTL + 2)).await;
    assert!(direct.lookup(&user()).await.unwrap().get(instance(1).id()).is_some());
    serving.shutdown().await.unwrap();
    assert!(direct.lookup(&user()).await.unwrap().get(instance(1).id()).is_none());
    assert!(!raw_keys(&etcd, "").await.iter().any(|kv| kv.value.contains("10.0.0.2:8080")), "a zombie");
}

/// Every key but the store's identity has a lease, and every instance listed has one set of keys.
async fn require_no_litter(etcd: &Etcd, layout: Layout, listed: &registry_core::Snapshot) {
    let keys = raw_keys(etcd, "").await;
    let entries: Vec<_> = keys
        .iter()
        .filter(|kv| !kv.key.contains("~store") && !kv.key.starts_with('~') && !kv.key.starts_with("junk"))
        .collect();
    assert!(entries.iter().all(|kv| kv.lease != 0), "a key without a lease: {entries:?}");
    let each = if layout == Layout::GoZero { 2 } else { 1 };
    assert_eq!(entries.len(), listed.len() * each, "{entries:?}");
}

/// More writes than there were before.
async fn write_much(etcd: &Etcd) {
    for n in 0..60 {
        etcd.put("junk", n.to_string()).await.unwrap();
    }
}

async fn compacted(layout: Layout) {
    let forget = async |etcd: &Etcd, _: &Snapshot| {
        write_much(etcd).await;
        etcd.compact().await.unwrap();
    };
    survive(layout, forget, &[ResetCause::First, ResetCause::Compacted]).await;
}

async fn restarted(layout: Layout) {
    survive(layout, async |etcd: &Etcd, _: &Snapshot| etcd.restart().await.unwrap(), &[ResetCause::First])
        .await;
}

async fn wiped_and_written_more(layout: Layout) {
    let wipe = async |etcd: &Etcd, _: &Snapshot| {
        etcd.wipe().await.unwrap();
        write_much(etcd).await;
    };
    survive(layout, wipe, &[ResetCause::First, ResetCause::Wiped]).await;
}

async fn wiped_and_written_less(layout: Layout) {
    survive(
        layout,
        async |etcd: &Etcd, _: &Snapshot| etcd.wipe().await.unwrap(),
        &[ResetCause::First, ResetCause::Wiped],
    )
    .await;
}

async fn restored(layout: Layout) {
    let restore = async |etcd: &Etcd, old: &Snapshot| etcd.restore(old).await.unwrap();
    survive(layout, restore, &[ResetCause::First, ResetCause::Diverged]).await;
}

/// The history after the snapshot becomes longer than the one that is lost.
async fn restored_and_written_more(layout: Layout) {
    let restore = async |etcd: &Etcd, old: &Snapshot| {
        etcd.restore(old).await.unwrap();
        write_much(etcd).await;
    };
    survive(layout, restore, &[ResetCause::First, ResetCause::Diverged]).await;
}

/// Where etcd's word on how far a watch is can be trusted (3.4.25, 3.5.8), what is compacted of the time before it is not missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_service_survives_compaction_and_a_cut_without_a_reset() {
    let etcd = Etcd::start(server()).await.unwrap();
    let trusted = !etcd.status().await.unwrap().version.starts_with("3.4.2");
    let proxy = Proxy::start(etcd.client_address()).unwrap();
    let client = registry_in(Layout::Json, [format!("http://{}", proxy.address())]);
    let direct = registry_in(Layout::Json, [etcd.endpoint()]);
    direct.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&client).await;
    write_much(&etcd).await;
    let quiet_since = etcd.status().await.unwrap().revision;
    if trusted {
        let moved = async || record.told(|told| (told.cursor?.revision().get() >= quiet_since).then_some(()));
        eventually("the cursor moves on although nothing changes", PATIENCE, moved).await;
    }
    proxy.set(Faults::refusing()).await;
    proxy.cut().await;
    etcd.compact().await.unwrap();
    let other = direct.register(&instance(2), &lasting()).await.unwrap();
    proxy.heal().await;
    record.until_revision(other.revision, PATIENCE).await;
    record.told(|told| {
        let causes: &[_] =
            if trusted { &[ResetCause::First] } else { &[ResetCause::First, ResetCause::Compacted] };
        assert_eq!(told.resets, causes);
        assert_eq!(told.view.as_ref().unwrap().len(), 2);
    });
}

macro_rules! in_both_layouts {
    ($($name:ident: $act:expr;)*) => {
        mod json {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $act(Layout::Json).await;
            })*
        }
        mod go_zero {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $act(Layout::GoZero).await;
            })*
        }
    };
}

in_both_layouts! {
    compaction_while_detached_is_told_and_the_registrar_is_back: compacted;
    a_restart_loses_nothing: restarted;
    a_wipe_with_more_writes_than_before_is_told_and_the_registrar_is_back: wiped_and_written_more;
    a_wipe_with_fewer_writes_than_before_is_told_and_the_registrar_is_back: wiped_and_written_less;
    an_older_snapshot_is_told_and_the_registrar_is_back: restored;
    an_older_snapshot_with_a_longer_history_is_told_and_the_registrar_is_back: restored_and_written_more;
}
