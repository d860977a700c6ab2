//! What `deregister` promises.

use registry_core::{Change, DeleteCause, DeleteCauses};

use super::Backend;
use super::support::{PATIENCE, answer, eventually, ids, instance, lookup, register, register_briefly, user};
use super::watcher::Watcher;

/// It removes the entry at once, and nothing else.
pub async fn deregistering_removes_the_own_entry_and_no_other(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let first = register(&*client, &instance(1)).await;
    let second = register(&*client, &instance(2)).await;
    answer(client.deregister(&first.lease)).await;
    assert_eq!(ids(&lookup(&*other, &user()).await), [instance(2).id().as_str()]);
    answer(client.keepalive(&second.lease)).await;
}

/// Watches see one `Delete`, which says that its owner has left, where the backend tells causes, and never that the lease ran out.
pub async fn deregistering_is_one_delete(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*other, &user()).await;
    answer(client.deregister(&registration.lease)).await;
    let batch = watcher.next_changes().await;
    let [Change::Delete { id, cause }] = &batch.changes[..] else { panic!("one Delete was due: {batch:?}") };
    assert_eq!(id, instance(1).id());
    let unknown =
        *cause == DeleteCause::Unknown && client.guarantees().delete_causes < DeleteCauses::Deregistered;
    assert!(*cause == DeleteCause::Deregistered || unknown, "{cause:?}");
    assert!(batch.cursor.revision() > registration.revision);
}

/// Twice is harmless, and is one change.
pub async fn deregistering_twice_is_harmless(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for _ in 0..3 {
        answer(client.deregister(&registration.lease)).await;
    }
    let marker = register(&*client, &instance(2)).await;
    watcher.until_revision(marker.revision).await;
    assert_eq!(watcher.changes().len(), 2, "a Delete and the marker: {:?}", watcher.changes());
}

/// After the lease ran out it is harmless too.
pub async fn deregistering_after_the_end_of_the_lease_is_harmless(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let gone = async || lookup(&*client, &user()).await.is_empty().then_some(());
    let within = registration.ttl.get() + client.guarantees().expiry_bound + PATIENCE;
    eventually("the end of the lease", within, gone).await;
    answer(client.deregister(&registration.lease)).await;
}

/// Who was taken over removes nothing, in whatever order the news arrives. (A class of bug: deleting by key.)
pub async fn deregistering_after_a_takeover_removes_nothing(backend: &dyn Backend) {
    let (client, late) = (backend.client().await, backend.client().await);
    let old = register(&*late, &instance(1)).await;
    let new = register(&*client, &instance(1)).await;
    answer(late.deregister(&old.lease)).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
    answer(client.keepalive(&new.lease)).await;
}

/// An id that was left can be had again, with a history of its own.
pub async fn an_id_that_was_left_can_be_had_again(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut last = None;
    for _ in 0..3 {
        let registration = register(&*client, &instance(1)).await;
        assert!(last.is_none_or(|last| registration.revision > last));
        let listed = lookup(&*client, &user()).await;
        assert_eq!(super::support::entry(&listed, instance(1).id()).created(), registration.revision);
        answer(client.deregister(&registration.lease)).await;
        assert!(lookup(&*client, &user()).await.is_empty());
        last = Some(registration.revision);
    }
}
