//! Losing a lease: at the latest one heartbeat after it happened, its owner knows.

use registry_core::{ErrorKind, Registration, Registry};

use super::Backend;
use super::support::{answer, instance, lookup, refused, register, register_with, user, weighing};
use super::watcher::Watcher;

/// The owner learns it by a heartbeat and by an update, and neither brings anything back.
async fn require_lost(client: &dyn Registry, lost: &Registration) {
    let before = lookup(client, &user()).await;
    refused(ErrorKind::LeaseLost, client.keepalive(&lost.lease)).await;
    refused(ErrorKind::LeaseLost, client.update(&lost.lease, &weighing(&instance(1), 9))).await;
    answer(client.deregister(&lost.lease)).await;
    refused(ErrorKind::LeaseLost, client.keepalive(&lost.lease)).await;
    let after = lookup(client, &user()).await;
    assert_eq!(super::support::entries(&after), super::support::entries(&before));
}

/// After it deregistered, an owner holds nothing.
pub async fn a_lease_is_lost_by_deregistering(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    answer(client.deregister(&registration.lease)).await;
    require_lost(&*client, &registration).await;
}

/// A lease of an id that was deregistered and registered anew by another is lost.
pub async fn a_lease_is_lost_when_the_id_has_another_life(backend: &dyn Backend) {
    let client = backend.client().await;
    let first = register(&*client, &instance(1)).await;
    answer(client.deregister(&first.lease)).await;
    let second = register(&*client, &instance(1)).await;
    require_lost(&*client, &first).await;
    answer(client.keepalive(&second.lease)).await;
}

/// After a wipe every lease is lost, and registering works at once.
pub async fn a_lease_is_lost_by_a_wipe(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    backend.wipe().await;
    assert!(lookup(&*client, &user()).await.is_empty());
    require_lost(&*client, &registration).await;
    let again = register(&*client, &instance(1)).await;
    answer(client.keepalive(&again.lease)).await;
}

/// An operator deletes the entry: its owner learns it, and does not bring it back by a heartbeat.
pub async fn a_lease_is_lost_by_an_operators_delete(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.delete(&user(), instance(1).id()).await;
    watcher.until("the deletion", |view| view.is_empty()).await;
    require_lost(&*client, &registration).await;
    assert!(lookup(&*client, &user()).await.is_empty());
}

/// Someone overwrites the entry: its owner learns it, and touches what it does not own no more.
pub async fn a_lease_is_lost_by_a_foreign_overwrite(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.overwrite(&weighing(&instance(1), 7)).await;
    let foreign = |view: &registry_core::Snapshot| {
        view.get(instance(1).id()).is_some_and(|entry| entry.instance().weight().get() == 7)
    };
    watcher.until("what the other wrote", foreign).await;
    require_lost(&*client, &registration).await;
    watcher.settle(&*client).await;
}

/// An owner whose entry was deleted or overwritten gets it back by registering, as a recovering registrar does.
pub async fn what_an_operator_broke_can_be_reclaimed(backend: &dyn Backend) {
    use registry_core::OnConflict;
    let client = backend.client().await;
    let options = super::support::options(&*client);
    let lease = register_with(&*client, &instance(1), &options).await.lease;
    let reclaim = options.with_on_conflict(OnConflict::Reclaim).with_claim(lease.incarnation());
    backend.overwrite(&weighing(&instance(1), 7)).await;
    let lease = register_with(&*client, &instance(1), &reclaim).await.lease;
    answer(client.keepalive(&lease)).await;
    backend.delete(&user(), instance(1).id()).await;
    let reclaim = reclaim.with_claim(lease.incarnation());
    let lease = register_with(&*client, &instance(1), &reclaim).await.lease;
    answer(client.keepalive(&lease)).await;
    let snapshot = lookup(&*client, &user()).await;
    assert_eq!(super::support::entry(&snapshot, instance(1).id()).instance(), &instance(1));
}

/// A lease that was ended before its time is lost, and its end is an expiry to watches.
pub async fn a_lease_is_lost_by_expiry(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.expire(&user(), instance(1).id()).await;
    watcher.until("the expiry", |view| view.len() == 1).await;
    require_lost(&*client, &registration).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
}

/// A lease that was given after the backup is lost by restoring it; one that is in the backup is held, or lost, but never
/// another's.
pub async fn a_lease_younger_than_the_backup_is_lost_by_restoring_it(backend: &dyn Backend) {
    let client = backend.client().await;
    let old = register(&*client, &instance(1)).await;
    backend.checkpoint().await;
    let young = register(&*client, &instance(2)).await;
    let newer = register(&*client, &weighing(&instance(1), 7)).await;
    backend.restore().await;
    refused(ErrorKind::LeaseLost, client.keepalive(&young.lease)).await;
    refused(ErrorKind::LeaseLost, client.keepalive(&newer.lease)).await;
    let again = register(&*client, &instance(1)).await;
    assert!(client.keepalive(&old.lease).await.is_err(), "it was taken over");
    answer(client.keepalive(&again.lease)).await;
}
