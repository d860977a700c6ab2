//! W1, W8 and W9 in health: how a watch begins, that it never ends, and that it proves itself current.

use std::time::Duration;

use registry_core::{ResetCause, WatchEvent};
use tokio::time::Instant;

use super::Backend;
use super::support::{ids, instance, register, user};
use super::watcher::Watcher;

/// W1: without a cursor the first data item is a `Reset` with all instances, because it is the first.
pub async fn w1_the_first_item_is_a_reset_with_all_instances(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let registration = register(&*client, &instance(2)).await;
    let mut watcher = Watcher::new(&*client, &user());
    let WatchEvent::Reset { snapshot, cause } = watcher.next().await else { panic!("a Reset was due") };
    assert_eq!(cause, ResetCause::First);
    assert_eq!(ids(&snapshot), [instance(1).id().as_str(), instance(2).id().as_str()]);
    assert!(snapshot.revision() >= registration.revision);
}

/// W1: that a service has no instances is told too.
pub async fn w1_the_first_item_of_an_empty_service_is_an_empty_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::new(&*client, &user());
    let first = watcher.next().await;
    assert!(
        matches!(&first, WatchEvent::Reset { snapshot, cause: ResetCause::First } if snapshot.is_empty())
    );
    register(&*client, &instance(1)).await;
    watcher.next_changes().await;
}

/// W1: a watch that is started and not polled misses nothing.
pub async fn w1_a_watch_that_is_polled_late_shows_the_present(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::new(&*client, &user());
    register(&*client, &instance(1)).await;
    tokio::task::yield_now().await;
    register(&*client, &instance(2)).await;
    watcher.until("both instances", |view| view.len() == 2).await;
    watcher.settle(&*client).await;
}

/// W9: a watch on which nothing happens proves itself current at least every 10 s, and does not end.
pub async fn w9_an_idle_watch_makes_progress_every_ten_seconds(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    // As the clocks of a real system go, a little slack.
    let within = Duration::from_millis(10_500);
    for _ in 0..2 {
        let progress = |event: &WatchEvent| matches!(event, WatchEvent::Progress { .. });
        watcher.until_item("Progress", within, progress).await;
    }
    assert!(!watcher.is_stale());
    assert_eq!(watcher.resets, [ResetCause::First], "nothing happened");
    assert!(watcher.batches.is_empty());
}

/// W9: after progress a watch goes on from there: what it passed does not come again.
pub async fn w9_progress_is_a_cursor_to_go_on_from(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let progress = |event: &WatchEvent| matches!(event, WatchEvent::Progress { .. });
    let event = watcher.until_item("Progress", Duration::from_millis(10_500), progress).await;
    let cursor = event.cursor().expect("progress has a cursor");
    let second = register(&*client, &instance(2)).await;
    let mut resumed = Watcher::from(&*client, &user(), cursor);
    assert_eq!(resumed.next_changes().await.cursor.revision(), second.revision);
}

/// W9: after a heartbeat-less hour of a quiet service its watch still delivers.
pub async fn w9_a_watch_outlives_everything_that_it_watched(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for n in 1..=3 {
        let ttl = super::support::register_briefly(&*client, &instance(n)).await.ttl.get();
        watcher.until("the instance", |view| view.len() == 1).await;
        let end = Instant::now() + ttl + client.guarantees().expiry_bound + super::support::PATIENCE;
        watcher.until_by(end, "its end", |view| view.is_empty()).await;
    }
    assert_eq!(watcher.resets.len(), 1);
}
