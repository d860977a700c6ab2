//! W10 and crowds: consumers that do not read, and many at once.

use std::sync::Arc;

use registry_core::{ResetCause, WatchEvent};
use tokio::time::Instant;

use super::Backend;
use super::support::{PATIENCE, answer, entries, instance, lookup, poll_times, register, user, weighing};
use super::watcher::Watcher;

/// W10: what a consumer does not read collapses into one `Reset`, after which it is as good as new.
pub async fn w10_what_is_not_read_collapses_into_one_reset(backend: &dyn Backend) {
    let (client, reader) = (backend.client().await, backend.client().await);
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    let changes = backend.overflow();
    let mut last = registration.revision;
    for n in 0..changes {
        let weight = u32::try_from(n % 10_000).unwrap_or_default();
        last = answer(client.update(&registration.lease, &weighing(&instance(1), weight))).await;
    }
    assert_eq!(watcher.until_reset("a Reset for what was not read").await, ResetCause::Overflow);
    watcher.until_revision(last).await;
    assert_eq!(watcher.resets.len(), 2, "one Reset is enough: {:?}", watcher.resets);
    assert!(watcher.items < changes / 2, "{} items were kept of {changes} changes", watcher.items);
    watcher.settle(&*client).await;
    let next = register(&*client, &instance(2)).await;
    assert_eq!(watcher.next_changes().await.cursor.revision(), next.revision);
}

/// W10: one that does not read holds up nobody else.
pub async fn w10_a_consumer_that_does_not_read_holds_up_nobody(backend: &dyn Backend) {
    let (client, reader) = (backend.client().await, backend.client().await);
    let mut sleeping = Vec::new();
    for _ in 0..10 {
        sleeping.push(Watcher::ready(&*reader, &user()).await);
    }
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    for n in 0..100 {
        let registration = register(&*client, &instance(n)).await;
        assert_eq!(watcher.next_changes().await.cursor.revision(), registration.revision);
    }
    for sleeper in &mut sleeping {
        sleeper.until("all instances", |view| view.len() == 100).await;
    }
    assert_eq!(lookup(&*reader, &user()).await.len(), 100);
}

/// A hundred watches on one service all see the same, each change once.
pub async fn a_hundred_watches_all_see_the_same(backend: &dyn Backend) {
    let (client, reader) = (backend.client().await, backend.client().await);
    let mut watchers = Vec::new();
    for _ in 0..100 {
        watchers.push(Watcher::ready(&*reader, &user()).await);
    }
    let tasks: Vec<_> = watchers
        .into_iter()
        .map(|mut watcher| {
            tokio::spawn(async move {
                let deadline = Instant::now() + PATIENCE;
                while watcher.changes().len() < 40 && watcher.try_next(deadline).await.is_some() {}
                watcher
            })
        })
        .collect();
    for n in 0..20 {
        let registration = register(&*client, &instance(n)).await;
        answer(client.update(&registration.lease, &weighing(&instance(n), 7))).await;
    }
    let listed = lookup(&*client, &user()).await;
    let mut first = None;
    for task in tasks {
        let watcher = task.await.expect("a watch that keeps its promises");
        assert_eq!(watcher.changes().len(), 40);
        assert_eq!(*first.get_or_insert_with(|| watcher.changes()), watcher.changes());
        assert_eq!(entries(watcher.view()), entries(&listed));
    }
}

/// Waiting for the next item can be given up at any moment, and nothing is lost.
pub async fn giving_up_waiting_for_an_item_loses_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let writer = Arc::clone(&client);
    let writing = tokio::spawn(async move {
        let mut last = None;
        for n in 0..50 {
            last = Some(register(&*writer, &instance(n)).await.revision);
            tokio::task::yield_now().await;
        }
        last
    });
    let mut watcher = Watcher::new(&*client, &user());
    let mut impatience = 0;
    while !writing.is_finished() {
        impatience = impatience % 5 + 1;
        poll_times(impatience, watcher.next()).await;
        tokio::task::yield_now().await;
    }
    let last = writing.await.expect("the writer ends").expect("it wrote");
    watcher.until_revision(last).await;
    watcher.settle(&*client).await;
    assert_eq!(watcher.view().len(), 50);
    assert_eq!(watcher.resets, [ResetCause::First]);
}

/// Dropping watches, polled or not, live or new, disturbs nothing.
pub async fn dropping_watches_disturbs_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    for n in 0..50 {
        let mut watcher = Watcher::new(&*client, &user());
        let polled: Option<WatchEvent> = poll_times(n % 4, watcher.next()).await;
        drop((watcher, polled));
    }
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let registration = register(&*client, &instance(1)).await;
    assert_eq!(watcher.next_changes().await.cursor.revision(), registration.revision);
}
