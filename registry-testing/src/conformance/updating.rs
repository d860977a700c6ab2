//! What `update` promises.

use registry_core::{Change, ErrorKind, Operation, Status};
use tokio::time::{Instant, sleep};

use super::Backend;
use super::support::{
    answer, entry, instance, instance_of, lookup, refusal, register, register_briefly, service, user,
    weighing,
};
use super::watcher::Watcher;

/// An update is one `Put` at the revision returned, never a deletion and a put.
pub async fn an_update_is_one_put_at_its_revision(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*other, &user()).await;
    for weight in 1..=3 {
        let revision = answer(client.update(&registration.lease, &weighing(&instance(1), weight))).await;
        let batch = watcher.next_changes().await;
        assert_eq!(batch.cursor.revision(), revision);
        let [Change::Put(entry)] = &batch.changes[..] else { panic!("one Put was due: {batch:?}") };
        assert_eq!(entry.instance().weight().get(), weight);
    }
}

/// An update keeps who the entry is: incarnation and revision of registration stay, that of the change moves.
pub async fn an_update_keeps_who_the_entry_is(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let registration = register(&*client, &instance(1)).await;
    let revision = answer(client.update(&registration.lease, &weighing(&instance(1), 7))).await;
    assert!(revision > registration.revision);
    let snapshot = lookup(&*other, &user()).await;
    let entry = entry(&snapshot, instance(1).id());
    assert_eq!(entry.incarnation(), registration.lease.incarnation());
    assert_eq!((entry.created(), entry.modified()), (registration.revision, revision));
    answer(client.keepalive(&registration.lease)).await;
}

/// Every part of an instance can change, in each alone: also where its address stays. (A class of bug: comparing by address.)
pub async fn a_change_of_any_part_is_delivered(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let base = || instance(1).to_builder();
    let changed = [
        base().weight(0),
        base().metadata("commit", "8f3c1d"),
        base().version("1.4.2"),
        base().zone("eu-1a"),
        base().status(Status::Draining),
        base().endpoint("10.9.9.9:1"),
        base().clear_endpoints().endpoint("10.9.9.9:2"),
        base(),
    ];
    for builder in changed {
        let instance = builder.build().expect("a valid instance");
        answer(client.update(&registration.lease, &instance)).await;
        let batch = watcher.next_changes().await;
        assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.instance() == &instance));
        assert_eq!(entry(&lookup(&*client, &user()).await, instance.id()).instance(), &instance);
    }
}

/// Updating to what is there already is harmless.
pub async fn updating_twice_with_one_instance_is_harmless(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let first = answer(client.update(&registration.lease, &weighing(&instance(1), 7))).await;
    let second = answer(client.update(&registration.lease, &weighing(&instance(1), 7))).await;
    assert!(second >= first);
    watcher.until_revision(second).await;
    watcher.settle(&*client).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
}

/// An update does not prolong the lease: who only updates and never beats is gone.
pub async fn an_update_does_not_move_the_deadline(backend: &dyn Backend) {
    let client = backend.client().await;
    let invoked = Instant::now();
    let registration = register_briefly(&*client, &instance(1)).await;
    let ttl = registration.ttl.get();
    let end = Instant::now() + ttl + client.guarantees().expiry_bound;
    sleep(ttl / 2).await;
    answer(client.update(&registration.lease, &weighing(&instance(1), 7))).await;
    super::leases::require_listed_until(&*client, &[&instance(1)], invoked + ttl).await;
    super::leases::require_gone_by(&*client, &instance(1), end).await;
}

/// A lease changes its own entry and no other; the error says which field does not fit.
pub async fn an_update_of_another_service_or_id_is_refused(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    let before = lookup(&*client, &user()).await;
    let elsewhere = service("order.rpc");
    for (other, field) in [(instance(2), "instance id"), (instance_of(&elsewhere, 1), "service name")] {
        let error = refusal(client.update(&registration.lease, &other)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(error.field(), Some(field), "{error}");
        assert_eq!(error.operation(), Operation::Update, "{error}");
    }
    assert_eq!(lookup(&*client, &user()).await, before);
    assert!(lookup(&*client, &elsewhere).await.is_empty());
}
