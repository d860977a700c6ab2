//! W2 to W5: every change, once, in order, and whole.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{InstanceId, Registry, Revision};
use tokio::time::{Instant, sleep};

use super::Backend;
use super::support::{
    PATIENCE, answer, brief, instance, instance_of, lookup, options, register, register_with, service, user,
    weighing,
};
use super::watcher::Watcher;

/// Makes 250 changes to ten instances from number `first` on; gives what was acknowledged, in order.
async fn churn(client: Arc<dyn Registry>, first: usize) -> Vec<(Revision, InstanceId)> {
    let mut acknowledged = Vec::new();
    for n in first..first + 10 {
        let registration = register(&*client, &instance(n)).await;
        acknowledged.push((registration.revision, instance(n).id().clone()));
        for weight in 1..=24 {
            let changed = weighing(&instance(n), weight);
            let revision = answer(client.update(&registration.lease, &changed)).await;
            acknowledged.push((revision, changed.id().clone()));
            tokio::task::yield_now().await;
        }
    }
    acknowledged
}

/// Requires that `watcher` has delivered exactly what was `acknowledged`.
fn require_exactly(watcher: &Watcher, acknowledged: &[(Revision, InstanceId)]) {
    let mut acknowledged = acknowledged.to_vec();
    acknowledged.sort_unstable();
    let delivered = watcher.changes();
    let missing: Vec<_> = acknowledged.iter().filter(|change| !delivered.contains(change)).take(5).collect();
    assert!(missing.is_empty(), "W4: acknowledged and not delivered: {missing:?}");
    assert_eq!(delivered.len(), acknowledged.len(), "W3: delivered more than was done");
    assert_eq!(delivered, acknowledged, "W2: delivered in another order than done");
    assert_eq!(watcher.resets.len(), 1, "nothing made a Reset necessary");
}

/// W2, W3, W4: a burst of 1,000 changes from several writers reaches a watch whole, once, and in order. (Classes of bug: only the
/// first event of a batch is delivered; events come out of order.)
pub async fn w4_a_burst_of_changes_is_delivered_whole_once_and_in_order(backend: &dyn Backend) {
    let reader = backend.client().await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    let mut writers = Vec::new();
    for writer in 0..4 {
        writers.push(tokio::spawn(churn(backend.client().await, writer * 10)));
    }
    let reading = async {
        let deadline = Instant::now() + 3 * PATIENCE;
        while watcher.changes().len() < 1000 && watcher.try_next(deadline).await.is_some() {}
    };
    let (written, ()) = tokio::join!(join_all(writers), reading);
    let acknowledged: Vec<_> = written.into_iter().flat_map(|writer| writer.expect("it ends")).collect();
    watcher.settle(&*reader).await;
    require_exactly(&watcher, &acknowledged);
}

/// W4: a consumer that takes its time for each item gets them all. (A class of bug: events dropped when nobody takes them within
/// 10 ms.)
pub async fn w4_a_slow_consumer_gets_every_change(backend: &dyn Backend) {
    let (client, reader) = (backend.client().await, backend.client().await);
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    let mut acknowledged = Vec::new();
    for n in 0..40 {
        let registration = register(&*client, &instance(n)).await;
        acknowledged.push((registration.revision, instance(n).id().clone()));
    }
    while watcher.changes().len() < 40 {
        sleep(Duration::from_millis(30)).await;
        watcher.next().await;
    }
    require_exactly(&watcher, &acknowledged);
}

/// W4: what changes and changes back between two reads is two changes, not none.
pub async fn w4_a_short_life_is_delivered_too(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for n in 0..10 {
        let registration = register(&*client, &instance(n)).await;
        answer(client.deregister(&registration.lease)).await;
    }
    let marker = register(&*client, &instance(99)).await;
    watcher.until_revision(marker.revision).await;
    let changed: Vec<_> = watcher.changes().into_iter().map(|(_, id)| id).collect();
    let expected: Vec<_> =
        (0..10).flat_map(|n| [n, n]).chain([99]).map(|n| instance(n).id().clone()).collect();
    assert_eq!(changed, expected);
}

/// W4: other services being busy costs this one no change.
pub async fn w4_other_services_cost_this_one_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let mut acknowledged = Vec::new();
    for n in 0..30 {
        for other in ["user", "user.rpc.v2", "a"] {
            register(&*client, &instance_of(&service(other), n)).await;
        }
        let registration = register(&*client, &instance(n)).await;
        acknowledged.push((registration.revision, instance(n).id().clone()));
    }
    watcher.until_revision(acknowledged[29].0).await;
    require_exactly(&watcher, &acknowledged);
}

/// W5: entries that go in one revision go in one item.
pub async fn w5_changes_of_one_revision_come_in_one_item(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let names: Vec<_> = (0..20).map(instance).collect();
    let options = || options(&*client).with_ttl(brief(&*client));
    let registering = names.iter().map(async |name| register_with(&*client, name, &options()).await);
    let ttl = join_all(registering).await[0].ttl.get();
    let end = Instant::now() + ttl + client.guarantees().expiry_bound + PATIENCE;
    watcher.until("all instances", |view| !view.is_empty()).await;
    // Many fall due at once; however the backend groups them, the checker refuses a revision that comes in two items.
    watcher.until_by(end, "the end of all", |view| view.is_empty()).await;
    assert_eq!(watcher.changes().len(), 40);
    assert!(lookup(&*client, &user()).await.is_empty());
}

/// W4, W3: a watch that others watch, start and drop around it is not disturbed.
pub async fn w4_watches_that_come_and_go_disturb_no_other(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let mut passing = Watcher::new(&*client, &user());
        if n % 3 != 0 {
            passing.next().await;
        }
        let registration = register(&*client, &instance(n)).await;
        acknowledged.push((registration.revision, instance(n).id().clone()));
        drop(passing);
    }
    watcher.until_revision(acknowledged[19].0).await;
    require_exactly(&watcher, &acknowledged);
}
