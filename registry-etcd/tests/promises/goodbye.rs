//! Whoever leaves is told from whoever is lost.

use registry_core::{Change, DeleteCause, Registry, WatchEvent};
use registry_etcd::Layout;
use registry_testing::servers::etcd::Etcd;
use tokio::time::timeout;

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, raw_keys, registry_in, server, ttl, user, weighing,
};

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
    let told = async {
        let mut causes = Vec::new();
        while causes.len() < 3 {
            if let Some(WatchEvent::Changes(batch)) = watch.next().await {
                causes.extend(batch.changes.into_iter().filter_map(|change| match change {
                    Change::Delete { id, cause } => Some((id, cause)),
                    _ => None,
                }));
            }
        }
        causes
    };
    let mut causes = timeout(PATIENCE, told).await.expect("all three are told");
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
