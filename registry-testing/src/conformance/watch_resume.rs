//! W6: from a cursor a watch goes on with the first later change, or says why not.

use registry_core::{Cursor, Epoch, ResetCause, Revision, WatchEvent};

use super::Backend;
use super::support::{answer, entries, instance, instance_of, lookup, register, service, user, weighing};
use super::watcher::Watcher;

/// From every point of a history, the rest of it comes: nothing twice, nothing left out. (Classes of bug: a reconnect replays
/// history; resuming at a revision that was not yet delivered in full loses the rest.)
pub async fn w6_from_every_point_the_rest_of_the_history_comes(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut cursors = vec![lookup(&*client, &user()).await.cursor()];
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for n in 0..8 {
        // Changes of other services lie between, so that revisions have gaps.
        register(&*client, &instance_of(&service("user"), n)).await;
        let registration = register(&*client, &instance(n)).await;
        watcher.until_revision(registration.revision).await;
        cursors.push(watcher.cursor());
        answer(client.update(&registration.lease, &weighing(&instance(n), 7))).await;
        if n % 2 == 0 {
            answer(client.deregister(&registration.lease)).await;
        }
        cursors.push(lookup(&*client, &user()).await.cursor());
    }
    let last = register(&*client, &instance(99)).await.revision;
    watcher.until_revision(last).await;
    let history = watcher.changes();
    for cursor in cursors {
        let mut resumed = Watcher::from(&*client, &user(), cursor);
        resumed.until_revision(last).await;
        let rest: Vec<_> =
            history.iter().filter(|(revision, _)| *revision > cursor.revision()).cloned().collect();
        assert_eq!(resumed.changes(), rest, "from {cursor}");
        assert!(resumed.resets.is_empty(), "nothing was forgotten, and yet {:?}", resumed.resets);
    }
}

/// A snapshot and the changes after its cursor are the present.
pub async fn w6_a_snapshot_and_what_follows_are_the_present(backend: &dyn Backend) {
    let client = backend.client().await;
    let lease = register(&*client, &instance(1)).await.lease;
    let snapshot = lookup(&*client, &user()).await;
    answer(client.update(&lease, &weighing(&instance(1), 7))).await;
    register(&*client, &instance(2)).await;
    register(&*client, &weighing(&instance(1), 8)).await;
    let mut resumed = Watcher::after(&*backend.client().await, &snapshot);
    resumed.until("both instances", |view| view.len() == 2).await;
    resumed.settle(&*client).await;
    assert_eq!(entries(resumed.view()), entries(&lookup(&*client, &user()).await));
    assert_eq!(resumed.changes().len(), 3);
}

/// A cursor survives being written down, and another client can go on from it.
pub async fn w6_a_cursor_can_be_written_down_and_given_to_another_client(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    register(&*client, &instance(1)).await;
    let text = Watcher::ready(&*client, &user()).await.cursor().to_string();
    let second = register(&*client, &instance(2)).await;
    let cursor: Cursor = text.parse().expect("a cursor reads back");
    let mut resumed = Watcher::from(&*other, &user(), cursor);
    let batch = resumed.next_changes().await;
    assert_eq!(batch.cursor.revision(), second.revision);
}

/// A watch that is resumed where nothing has changed says that it is live, without repeating anything.
pub async fn w6_resuming_at_the_present_says_live(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let mut resumed = Watcher::after(&*client, &lookup(&*client, &user()).await);
    assert!(matches!(resumed.next().await, WatchEvent::Live { .. }));
    let next = register(&*client, &instance(2)).await;
    assert_eq!(resumed.next_changes().await.cursor.revision(), next.revision);
}

/// A cursor of another store, or of none, becomes a `Reset`; it is never taken for one of this history.
pub async fn w6_a_cursor_of_another_history_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    for n in 0..5 {
        register(&*client, &instance(n)).await;
    }
    let real = lookup(&*client, &user()).await.cursor();
    let other_epoch = Epoch::new(real.epoch().get() ^ 0x5555);
    let ahead = Revision::new(real.revision().get() + 1_000_000);
    let foreign = [
        Cursor::new(other_epoch, real.revision(), real.proof()),
        Cursor::new(other_epoch, Revision::ZERO, 0),
        Cursor::new(other_epoch, ahead, 1),
        Cursor::new(real.epoch(), ahead, real.proof()),
    ];
    for cursor in foreign {
        let mut watcher = Watcher::from(&*client, &user(), cursor);
        let cause = watcher.until_reset("a Reset for a cursor of another history").await;
        assert_ne!(cause, ResetCause::First, "a watch from {cursor} missed something");
        assert_eq!(watcher.items, 1, "a cursor that is lost is not an outage");
        watcher.settle(&*client).await;
        let next = register(&*client, &instance(6)).await;
        watcher.until_revision(next.revision).await;
    }
}
