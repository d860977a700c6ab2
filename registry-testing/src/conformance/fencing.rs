//! Fencing: nothing that an old incarnation does touches a newer one.

use std::time::Duration;

use registry_core::{Change, ErrorKind, Incarnation, OnConflict, Registration, Registry};
use tokio::time::{Instant, sleep_until};

use super::Backend;
use super::support::{
    answer, brief, entries, entry, instance, lookup, options, refused, register, register_briefly,
    register_with, user, weighing,
};
use super::watcher::Watcher;

/// Two registrations of one id: the old one, and the one that took over.
async fn taken_over(client: &dyn Registry) -> (Registration, Registration) {
    let old = register(client, &instance(1)).await;
    let new = register(client, &weighing(&instance(1), 7)).await;
    (old, new)
}

/// A takeover is one `Put` of a higher incarnation: in no view is the id absent for a moment.
pub async fn a_takeover_is_one_put(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let old = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let new = register(&*other, &weighing(&instance(1), 7)).await;
    let batch = watcher.next_changes().await;
    assert_eq!(batch.cursor.revision(), new.revision);
    let [Change::Put(entry)] = &batch.changes[..] else { panic!("one Put was due: {batch:?}") };
    assert!(entry.incarnation() > old.lease.incarnation());
    assert_eq!(entry.incarnation(), new.lease.incarnation());
    assert_eq!(entry.created(), new.revision, "another incarnation is another registration");
    assert_eq!(entry.instance().weight().get(), 7);
}

/// Heartbeats and updates of the one that was taken over are refused, from the first on.
pub async fn a_takeover_fences_the_old_owner(backend: &dyn Backend) {
    let client = backend.client().await;
    let (old, new) = taken_over(&*client).await;
    refused(ErrorKind::LeaseLost, client.keepalive(&old.lease)).await;
    refused(ErrorKind::LeaseLost, client.update(&old.lease, &instance(1))).await;
    answer(client.keepalive(&new.lease)).await;
}

/// An old owner that goes on as if nothing had happened changes nothing, and no watch hears of it.
pub async fn an_old_owner_touches_nothing(backend: &dyn Backend) {
    let (client, old_client) = (backend.client().await, backend.client().await);
    let (old, new) = taken_over(&*client).await;
    let before = lookup(&*client, &user()).await;
    let mut watcher = Watcher::after(&*client, &before);
    for _ in 0..3 {
        refused(ErrorKind::LeaseLost, old_client.keepalive(&old.lease)).await;
        refused(ErrorKind::LeaseLost, old_client.update(&old.lease, &instance(1))).await;
        answer(old_client.deregister(&old.lease)).await;
    }
    assert_eq!(entries(&lookup(&*client, &user()).await), entries(&before));
    let marker = register(&*client, &instance(2)).await;
    watcher.until_revision(marker.revision).await;
    assert_eq!(watcher.changes(), [(marker.revision, instance(2).id().clone())]);
    answer(client.keepalive(&new.lease)).await;
}

/// The end of an old lease does not end the newer one.
pub async fn the_expiry_of_an_old_lease_touches_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let old = register_briefly(&*client, &instance(1)).await;
    let new = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let over = old.ttl.get() + client.guarantees().expiry_bound.min(old.ttl.get());
    watcher.rest(over + Duration::from_millis(200)).await;
    assert!(watcher.changes().is_empty(), "{:?}", watcher.changes());
    let entry = entry(&lookup(&*client, &user()).await, instance(1).id()).clone();
    assert_eq!(entry.incarnation(), new.lease.incarnation());
    answer(client.keepalive(&new.lease)).await;
}

/// Heartbeats of an old owner do not keep the newer one's entry alive.
pub async fn a_heartbeat_of_an_old_owner_prolongs_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let old = register(&*client, &instance(1)).await;
    let new = register_briefly(&*client, &instance(1)).await;
    let taken = Instant::now();
    let end = taken + new.ttl.get() + client.guarantees().expiry_bound;
    while Instant::now() < end {
        assert!(client.keepalive(&old.lease).await.is_err());
        sleep_until((Instant::now() + new.ttl.get() / 5).min(end)).await;
    }
    let gone = async || lookup(&*client, &user()).await.is_empty().then_some(());
    super::support::eventually(
        "the end of a lease that nobody renewed",
        super::leases::reading_lag(&*client),
        gone,
    )
    .await;
}

/// An owner that took over can be taken over in turn, and each is fenced by the next.
pub async fn takeovers_follow_each_other(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut leases = Vec::new();
    for weight in 1..=5 {
        let lease = register(&*client, &weighing(&instance(1), weight)).await.lease;
        answer(client.keepalive(&lease)).await;
        leases.push(lease);
    }
    for old in &leases[..4] {
        refused(ErrorKind::LeaseLost, client.keepalive(old)).await;
    }
    answer(client.keepalive(&leases[4])).await;
    assert!(leases.windows(2).all(|pair| pair[0].incarnation() < pair[1].incarnation()));
}

/// `Reclaim` takes an id that nobody holds.
pub async fn reclaim_takes_an_absent_id(backend: &dyn Backend) {
    let client = backend.client().await;
    let reclaim = options(&*client).with_on_conflict(OnConflict::Reclaim).with_claim(Incarnation::new(100));
    let registration = register_with(&*client, &instance(1), &reclaim).await;
    assert_eq!(registration.lease.incarnation().get(), 100);
}

/// `Reclaim` gives back what has the same token, whatever the claim.
pub async fn reclaim_takes_what_is_ours_by_token(backend: &dyn Backend) {
    let client = backend.client().await;
    let ours = options(&*client).with_claim(Incarnation::new(100));
    let first = register_with(&*client, &instance(1), &ours).await;
    let reclaim = ours.with_on_conflict(OnConflict::Reclaim).with_claim(Incarnation::new(1));
    assert_eq!(register_with(&*client, &instance(1), &reclaim).await.lease, first.lease);
}

/// `Reclaim` takes an id from a lower incarnation, and fences it.
pub async fn reclaim_takes_over_a_lower_incarnation(backend: &dyn Backend) {
    let client = backend.client().await;
    let lower = options(&*client).with_claim(Incarnation::new(99));
    let lower = register_with(&*client, &instance(1), &lower).await;
    let reclaim = options(&*client).with_on_conflict(OnConflict::Reclaim).with_claim(Incarnation::new(100));
    let ours = register_with(&*client, &instance(1), &reclaim).await;
    assert_eq!(ours.lease.incarnation().get(), 100);
    refused(ErrorKind::LeaseLost, client.keepalive(&lower.lease)).await;
}

/// `Reclaim` leaves an equal or higher incarnation alone: two who recover at once do not fight.
pub async fn reclaim_leaves_an_equal_or_higher_incarnation_alone(backend: &dyn Backend) {
    let client = backend.client().await;
    let holder = options(&*client).with_claim(Incarnation::new(100));
    let holder = register_with(&*client, &instance(1), &holder).await;
    let before = lookup(&*client, &user()).await;
    for claim in [100, 99, 1] {
        let reclaim =
            options(&*client).with_on_conflict(OnConflict::Reclaim).with_claim(Incarnation::new(claim));
        let other = weighing(&instance(1), 7);
        refused(ErrorKind::AlreadyRegistered, client.register(&other, &reclaim)).await;
    }
    assert_eq!(entries(&lookup(&*client, &user()).await), entries(&before));
    answer(client.keepalive(&holder.lease)).await;
}

/// A registration whose answer was lost can be repeated, and its lease can then be used.
pub async fn a_retry_after_a_lost_answer_owns_the_entry(backend: &dyn Backend) {
    let (client, again) = (backend.client().await, backend.client().await);
    let options = options(&*client).with_ttl(brief(&*client));
    // The answer is thrown away: all that its caller still knows is the token.
    let _ = client.register(&instance(1), &options).await;
    let registration = register_with(&*again, &instance(1), &options).await;
    answer(again.keepalive(&registration.lease)).await;
    answer(again.update(&registration.lease, &weighing(&instance(1), 7))).await;
    answer(again.deregister(&registration.lease)).await;
    assert!(lookup(&*client, &user()).await.is_empty());
}
