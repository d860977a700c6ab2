//! What `lookup` promises.

use std::sync::Arc;

use registry_core::Registry;

use super::Backend;
use super::support::{answer, entries, instance, instance_of, lookup, register, service, user, weighing};
use super::watcher::Watcher;

/// A service never seen is an empty snapshot, not an error, and can be watched from there.
pub async fn a_service_never_seen_is_empty_and_not_an_error(backend: &dyn Backend) {
    let client = backend.client().await;
    let never = lookup(&*client, &user()).await;
    assert!(never.is_empty());
    assert_eq!(never.service(), &user());
    let mut watcher = Watcher::after(&*client, &never);
    register(&*client, &instance(1)).await;
    watcher.until("the first instance ever", |view| view.len() == 1).await;
}

/// What lookup lists and what a watch makes of its items are the same entries, revisions included.
pub async fn lookup_and_watch_show_the_same_entries(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut from_the_start = Watcher::ready(&*client, &user()).await;
    let first = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    register(&*client, &weighing(&instance(2), 9)).await;
    let third = register(&*client, &instance(3)).await;
    answer(client.update(&first.lease, &weighing(&instance(1), 7))).await;
    answer(client.deregister(&third.lease)).await;
    let listed = lookup(&*client, &user()).await;
    assert_eq!(listed.len(), 2);
    from_the_start.settle(&*client).await;
    let fresh = Watcher::ready(&*client, &user()).await;
    assert_eq!(entries(fresh.view()), entries(&listed));
    assert_eq!(entries(from_the_start.view()), entries(&listed));
}

/// Between a lookup and the watch that goes on from its cursor nothing is lost and nothing comes twice. (A class of bug:
/// registrations lost between get and watch.)
pub async fn nothing_is_lost_between_lookup_and_watch(backend: &dyn Backend) {
    let client = backend.client().await;
    let writer = Arc::clone(&client);
    let writing = tokio::spawn(async move {
        for n in 1..=60 {
            register(&*writer, &instance(n)).await;
            tokio::task::yield_now().await;
        }
    });
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let snapshot = lookup(&*client, &user()).await;
        // Time for changes between the two.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        watchers.push(Watcher::after(&*client, &snapshot));
    }
    writing.await.expect("the writer ends");
    for watcher in &mut watchers {
        watcher.until("all instances", |view| view.len() == 60).await;
        watcher.settle(&*client).await;
        assert!(watcher.resets.is_empty(), "a cursor that is just made can be resumed: {:?}", watcher.resets);
    }
}

/// The revisions of one reader's snapshots never fall, and rise with changes.
pub async fn the_revision_of_lookups_never_falls(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut last = lookup(&*client, &user()).await.revision();
    for n in 1..=20 {
        let registration = register(&*client, &instance(n)).await;
        let seen = lookup(&*client, &user()).await.revision();
        assert!(seen >= last && seen >= registration.revision, "{seen} after {last}");
        last = seen;
    }
}

/// Services do not mix.
pub async fn a_service_lists_only_its_own(backend: &dyn Backend) {
    let client = backend.client().await;
    let other = service("order.rpc");
    register(&*client, &instance(1)).await;
    let foreign = register(&*client, &instance_of(&other, 2)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
    assert_eq!(lookup(&*client, &other).await.len(), 1);
    answer(client.update(&foreign.lease, &weighing(&instance_of(&other, 2), 7))).await;
    answer(client.deregister(&foreign.lease)).await;
    let marker = register(&*client, &instance(3)).await;
    watcher.until_revision(marker.revision).await;
    assert_eq!(watcher.changes(), [(marker.revision, instance(3).id().clone())]);
}

/// A large service is listed whole, and its first snapshot does not stick. (A class of bug: subscribing deadlocks above 64
/// entries.)
pub async fn a_service_of_many_instances_is_listed_whole(backend: &dyn Backend) {
    let client = backend.client().await;
    for chunk in (0..500).collect::<Vec<_>>().chunks(50) {
        let names: Vec<_> = chunk.iter().map(|n| instance(*n)).collect();
        let client: &dyn Registry = &*client;
        futures_util::future::join_all(names.iter().map(|name| register(client, name))).await;
    }
    let listed = lookup(&*client, &user()).await;
    assert_eq!(listed.len(), 500);
    let watcher = Watcher::ready(&*client, &user()).await;
    assert_eq!(entries(watcher.view()), entries(&listed));
}
