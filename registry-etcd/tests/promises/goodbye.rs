//! Whoever leaves is told from whoever is lost.

use std::time::Duration;

use registry_core::{Change, Cursor, DeleteCause, InstanceId, Registry, ResetCause, Watch, WatchEvent};
use registry_etcd::{EtcdRegistry, Layout};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::Faults;
use tokio::time::timeout;

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, raw_keys, registry_in, server, ttl, user, weighing,
};

/// So many deletions with their causes, and where the last one left the watch.
async fn causes(watch: &mut Watch, count: usize) -> (Vec<(InstanceId, DeleteCause)>, Cursor) {
    let told = async {
        let (mut causes, mut cursor) = (Vec::new(), None);
        while causes.len() < count {
            let Some(WatchEvent::Changes(batch)) = watch.next().await else { continue };
            cursor = Some(batch.cursor);
            causes.extend(batch.changes.into_iter().filter_map(|change| match change {
                Change::Delete { id, cause } => Some((id, cause)),
                _ => None,
            }));
        }
        (causes, cursor.unwrap())
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{count} deletions"))
}

/// A watch that has told its first list.
async fn watching(registry: &EtcdRegistry) -> Watch {
    let mut watch = registry.watch(&user(), None);
    let first = timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(first, Some(WatchEvent::Reset { .. })), "{first:?}");
    watch
}

async fn told(layout: Layout) {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry_in(layout, [etcd.endpoint()]);
    let leaving = registry.register(&instance(1), &lasting()).await.unwrap();
    let changed = registry.register(&instance(3), &lasting()).await.unwrap();
    registry.update(&changed.lease, &weighing(3, 7)).await.unwrap();
    let other = registry_in(layout, [etcd.endpoint()]);
    let mut watch = other.watch(&user(), None);
    let record = Record::start(&other).await;
    assert!(matches!(watch.next().await, Some(WatchEvent::Reset { .. })));

    let dying = registry.register(&instance(2), &lasting().with_ttl(ttl(2))).await.unwrap();
    registry.deregister(&leaving.lease).await.unwrap();
    // By a client that knows no more of it than its lease.
    registry_in(layout, [etcd.endpoint()]).deregister(&changed.lease).await.unwrap();
    let mut causes = causes(&mut watch, 3).await.0;
    causes.sort_by(|one, other| one.0.cmp(&other.0));
    let id = |n| instance(n).id().clone();
    let expected = [
        (id(1), DeleteCause::Deregistered),
        (id(2), DeleteCause::Unknown),
        (id(3), DeleteCause::Deregistered),
    ];
    assert_eq!(causes, expected);
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 0);
    eventually("all keys but the store's are gone", PATIENCE, async || {
        (raw_keys(&etcd, "").await.len() == 1).then_some(())
    })
    .await;
    assert!(registry.services("").await.unwrap().is_empty());
    record.told(|told| assert_eq!((told.resets.len(), told.deletions), (1, 3), "nothing was split"));
    // Harmless when all is gone.
    for lease in [leaving.lease, dying.lease] {
        registry.deregister(&lease).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_who_has_left_from_who_is_lost() {
    told(Layout::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_who_has_left_from_who_is_lost_in_go_zeros_layout() {
    told(Layout::GoZero).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_taken_over_says_no_goodbye_for_the_other() {
    for layout in [Layout::Json, Layout::GoZero] {
        let etcd = Etcd::start(server()).await.unwrap();
        let (old, new) = (registry_in(layout, [etcd.endpoint()]), registry_in(layout, [etcd.endpoint()]));
        let first = old.register(&instance(1), &lasting()).await.unwrap();
        let second = new.register(&instance(1), &lasting()).await.unwrap();
        let record = Record::start(&new).await;
        old.deregister(&first.lease).await.unwrap();
        new.keepalive(&second.lease).await.unwrap();
        let last = new.update(&second.lease, &weighing(1, 7)).await.unwrap();
        record.until_revision(last, PATIENCE).await;
        record.told(|told| assert_eq!(told.deletions, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_with_an_update_in_between_says_so_too() {
    for layout in [Layout::Json, Layout::GoZero] {
        let etcd = Etcd::start(server()).await.unwrap();
        let (one, two) = (registry_in(layout, [etcd.endpoint()]), registry_in(layout, [etcd.endpoint()]));
        let leaving = one.register(&instance(1), &lasting()).await.unwrap();
        // What the first knows is out of date from here on; in go-zero's layout, as to what lies beside the entry as well.
        let elsewhere = instance(1)
            .to_builder()
            .clear_endpoints()
            .endpoint(instance(2).endpoint().clone())
            .build()
            .unwrap();
        two.update(&leaving.lease, &elsewhere).await.unwrap();
        let mut watch = watching(&two).await;
        one.deregister(&leaving.lease).await.unwrap();
        let (told, _) = causes(&mut watch, 1).await;
        assert_eq!(told, [(instance(1).id().clone(), DeleteCause::Deregistered)]);
        eventually("all keys but the store's are gone", PATIENCE, async || {
            (raw_keys(&etcd, "").await.len() == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_whose_answer_is_lost_was_said() {
    for layout in [Layout::Json, Layout::GoZero] {
        let etcd = Etcd::start(server().with_client_proxies()).await.unwrap();
        let registry = registry_in(layout, [etcd.endpoint()]);
        let leaving = registry.register(&instance(1), &lasting()).await.unwrap();
        let direct = registry_in(layout, [etcd.direct_endpoint()]);
        let mut watch = watching(&direct).await;
        let proxy = etcd.client_proxy().unwrap();
        proxy.set(Faults::default().with_latency(Duration::from_millis(300))).await;
        let lease = leaving.lease.clone();
        let asking = registry.clone();
        let asked = tokio::spawn(async move { asking.deregister(&lease).await });
        let (told, _) = causes(&mut watch, 1).await;
        // On its way back.
        proxy.cut().await;
        proxy.heal().await;
        assert_eq!(told, [(instance(1).id().clone(), DeleteCause::Deregistered)]);
        let _ = asked.await.unwrap();
        registry.deregister(&leaving.lease).await.unwrap();
        eventually("all keys but the store's are gone", PATIENCE, async || {
            (raw_keys(&etcd, "").await.len() == 1).then_some(())
        })
        .await;
    }
}

/// A goodbye of somebody whose lease has not ended yet.
async fn lingering(etcd: &Etcd, layout: Layout) {
    let key = match layout {
        Layout::GoZero => "user.rpc.~meta/~gone/10.0.0.2:8080",
        _ => "/registry/user.rpc/~gone/10.0.0.2:8080",
    };
    etcd.put(key, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_goodbye_is_there_nobody_takes_it_for_an_instance_or_a_service() {
    for layout in [Layout::Json, Layout::GoZero] {
        let etcd = Etcd::start(server()).await.unwrap();
        let registry = registry_in(layout, [etcd.endpoint()]);
        let leaving = registry.register(&instance(1), &lasting()).await.unwrap();
        registry.deregister(&leaving.lease).await.unwrap();
        lingering(&etcd, layout).await;
        let list = registry.lookup(&user()).await.unwrap();
        assert_eq!((list.len(), list.skipped()), (0, 0));
        assert!(registry.services("").await.unwrap().is_empty());
        let mut watch = watching(&registry).await;
        let staying = registry.register(&instance(1), &lasting()).await.unwrap();
        assert_eq!(registry.lookup(&user()).await.unwrap().len(), 1);
        assert_eq!(registry.services("").await.unwrap(), [user()]);
        registry.deregister(&staying.lease).await.unwrap();
        assert_eq!(causes(&mut watch, 1).await.0[0].1, DeleteCause::Deregistered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_at_a_goodbye_and_over_one_and_compaction_there_loses_nothing() {
    for layout in [Layout::Json, Layout::GoZero] {
        let etcd = Etcd::start(server()).await.unwrap();
        let registry = registry_in(layout, [etcd.endpoint()]);
        let mut leases = Vec::new();
        for n in 1..=4 {
            leases.push(registry.register(&instance(n), &lasting()).await.unwrap().lease);
        }
        let id = |n| instance(n).id().clone();
        let mut watch = watching(&registry).await;
        registry.deregister(&leases[0]).await.unwrap();
        let (_, at_goodbye) = causes(&mut watch, 1).await;
        registry.deregister(&leases[1]).await.unwrap();
        drop(watch);

        let mut resumed = registry.watch(&user(), Some(at_goodbye));
        let (told, cursor) = causes(&mut resumed, 1).await;
        assert_eq!(told, [(id(2), DeleteCause::Deregistered)], "only what came after it");
        drop(resumed);

        // The goodbye itself has gone with its lease, and its deletion is what etcd is compacted up to; or it is a moment before that.
        etcd.compact().await.unwrap();
        registry.deregister(&leases[2]).await.unwrap();
        let mut resumed = registry.watch(&user(), Some(cursor));
        let first = loop {
            match timeout(PATIENCE, resumed.next()).await.expect("an item").unwrap() {
                WatchEvent::Changes(batch) => break Ok(batch.changes),
                WatchEvent::Reset { snapshot, cause } => break Err((snapshot.len(), cause)),
                _ => {}
            }
        };
        match first {
            Ok(changes) => {
                let gone = Change::Delete { id: id(3), cause: DeleteCause::Deregistered };
                assert_eq!(changes, [gone]);
            }
            Err(reset) => assert_eq!(reset, (1, ResetCause::Compacted)),
        }
        registry.deregister(&leases[3]).await.unwrap();
        assert_eq!(causes(&mut resumed, 1).await.0, [(id(4), DeleteCause::Deregistered)]);
    }
}
