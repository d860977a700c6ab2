//! W7: what cannot be resumed becomes a `Reset` that says why. Silent loss is the worst defect there is.

use registry_core::{Registry, ResetCause};

use super::Backend;
use super::support::{
    PATIENCE, answer, entries, eventually, instance, lookup, register, until_answered, user, weighing,
};
use super::watcher::Watcher;

/// History that was compacted away while a cursor waited becomes a `Reset`, with the present.
pub async fn w7_a_compacted_cursor_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    let old = lookup(&*client, &user()).await;
    for n in 0..5 {
        register(&*client, &instance(n)).await;
    }
    let lease = register(&*client, &instance(1)).await.lease;
    answer(client.deregister(&lease)).await;
    backend.compact().await;
    let mut watcher = Watcher::after(&*client, &old);
    assert_eq!(watcher.until_reset("a Reset after compaction").await, ResetCause::Compacted);
    assert!(watcher.changes().is_empty(), "nothing of a history with a hole is told");
    watcher.settle(&*client).await;
    assert_eq!(watcher.view().len(), 4);
}

/// A watch that has kept up does not mind compaction, and goes on. (A class of bug: the watch dies, and the list is frozen for
/// ever.)
pub async fn w7_compaction_under_a_watch_that_kept_up_costs_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for n in 0..5 {
        let registration = register(&*client, &instance(n)).await;
        watcher.until_revision(registration.revision).await;
        backend.compact().await;
    }
    assert_eq!(watcher.resets, [ResetCause::First], "nothing was missed");
    watcher.settle(&*client).await;
}

/// Compaction during a cut: the watch comes back with a `Reset`, and never ends. (Classes of bug: the channel is closed; the
/// watch loops on the compacted revision.)
pub async fn w7_compaction_during_a_cut_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    let lease = register(&*client, &instance(1)).await.lease;
    register(&*client, &instance(2)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    link.cut().await;
    watcher.until_stale().await;
    answer(client.deregister(&lease)).await;
    for n in 3..=8 {
        register(&*client, &instance(n)).await;
    }
    backend.compact().await;
    link.heal().await;
    assert_eq!(watcher.until_reset("a Reset after compaction").await, ResetCause::Compacted);
    watcher.settle(&*client).await;
    assert_eq!(watcher.view().len(), 7);
    let next = register(&*client, &instance(9)).await;
    watcher.until_revision(next.revision).await;
    assert_eq!(watcher.resets.len(), 2, "one Reset is enough: {:?}", watcher.resets);
}

/// A wipe is told to a live watch, and what is registered afterwards is seen.
pub async fn w7_a_wipe_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    for n in 0..5 {
        register(&*client, &instance(n)).await;
    }
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let before = watcher.cursor();
    backend.wipe().await;
    let cause = watcher.until_reset("a Reset after the wipe").await;
    assert!(matches!(cause, ResetCause::Wiped | ResetCause::Diverged | ResetCause::Unknown), "{cause}");
    watcher.until("the emptiness", |view| view.is_empty()).await;
    assert_ne!(watcher.cursor().epoch(), before.epoch(), "revisions of two lives cannot be compared");
    let next = register(&*client, &instance(9)).await;
    watcher.until("the first instance after the wipe", |view| view.len() == 1).await;
    assert!(watcher.cursor().revision() >= next.revision);
}

/// A wipe after which as much, or more, was registered as before is still noticed. (A class of bug: the new life's revisions are taken
/// for those of the old one.)
pub async fn w7_a_wipe_and_a_new_life_under_a_cursor_become_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    for lives in [1, 2, 4] {
        for n in 0..4 {
            register(&*client, &instance(n)).await;
        }
        let old = lookup(&*client, &user()).await;
        backend.wipe().await;
        for n in 10..10 + 4 * lives {
            register(&*client, &instance(n)).await;
        }
        let mut watcher = Watcher::after(&*client, &old);
        let cause = watcher.until_reset("a Reset after the wipe").await;
        assert!(!matches!(cause, ResetCause::First | ResetCause::Overflow), "{cause}");
        watcher.settle(&*client).await;
        assert_eq!(watcher.view().len(), 4 * lives, "nothing of the old life is left");
        backend.wipe().await;
    }
}

/// A wipe while the watcher is cut off.
pub async fn w7_a_wipe_during_a_cut_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    for n in 0..4 {
        register(&*client, &instance(n)).await;
    }
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    link.cut().await;
    watcher.until_stale().await;
    backend.wipe().await;
    for n in 2..8 {
        register(&*client, &weighing(&instance(n), 7)).await;
    }
    assert_eq!(watcher.view().len(), 4, "what is stale is kept");
    link.heal().await;
    watcher.until_reset("a Reset after the wipe").await;
    watcher.settle(&*client).await;
    assert_eq!(watcher.view().len(), 6);
}

/// Going back to a backup is told: what came after it is gone, and its revisions mean something else now.
pub async fn w7_a_restored_backup_becomes_a_reset(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    backend.checkpoint().await;
    for n in 2..=5 {
        register(&*client, &instance(n)).await;
    }
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let old = lookup(&*client, &user()).await;
    backend.restore().await;
    for n in 6..=12 {
        until_answered(async || client.register(&instance(n), &super::support::options(&*client)).await)
            .await;
    }
    let mut resumed = Watcher::after(&*client, &old);
    for watcher in [&mut watcher, &mut resumed] {
        let cause = watcher.until_reset("a Reset after the restore").await;
        assert!(!matches!(cause, ResetCause::First | ResetCause::Overflow), "{cause}");
        watcher.settle(&*client).await;
        for gone in 2..=5 {
            assert!(watcher.view().get(instance(gone).id()).is_none(), "{gone} came after the backup");
        }
    }
}

/// After the store was killed and started again, a watch shows what lookup shows, whatever survived.
pub async fn w7_after_a_restart_a_watch_shows_what_survived(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for n in 0..5 {
        register(&*client, &instance(n)).await;
    }
    watcher.until("the instances", |view| view.len() == 5).await;
    backend.restart().await;
    let registering = async || client.register(&instance(9), &super::support::options(&*client)).await;
    until_answered(registering).await;
    watcher.until("what was registered afterwards", |view| view.get(instance(9).id()).is_some()).await;
    let listed = until_answered(async || client.lookup(&user()).await).await;
    watcher.until("what survived", |view| entries(view) == entries(&listed)).await;
}

/// However often and whatever is compacted, cut and wiped, the view ends as the present, and no older list is installed over a
/// newer one.
pub async fn w7_losses_in_a_row_end_in_the_present(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for round in 0..4 {
        for n in 0..6 {
            register(&*client, &weighing(&instance(n), round)).await;
        }
        backend.compact().await;
        if round % 2 == 1 {
            backend.wipe().await;
            register(&*client, &instance(20 + round as usize)).await;
        }
        backend.compact().await;
    }
    watcher.settle(&*client).await;
    let next = register(&*client, &instance(50)).await;
    let there = |view: &registry_core::Snapshot| view.get(instance(50).id()).is_some();
    watcher.until("a change after all losses", there).await;
    let seen = async || (lookup(&*client, &user()).await.revision() >= next.revision).then_some(());
    eventually("the present", PATIENCE, seen).await;
}
