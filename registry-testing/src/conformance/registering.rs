//! What `register` promises.

use futures_util::future::join_all;
use registry_core::{Change, ErrorKind, Incarnation, OnConflict, OwnerToken, RegisterOptions, Ttl};
use tokio::time::{Instant, sleep_until};

use super::Backend;
use super::support::{
    brief, entry, ids, instance, lasting, lookup, options, refused, register, register_with, user, weighing,
};
use super::watcher::Watcher;

/// Every client sees a registration as soon as it is acknowledged, and all of it.
pub async fn a_registration_is_listed_by_every_later_lookup(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let registration = register(&*client, &instance(1)).await;
    for reader in [&client, &other] {
        let snapshot = lookup(reader, &user()).await;
        let entry = entry(&snapshot, instance(1).id());
        assert_eq!(entry.instance(), &instance(1));
        assert_eq!(entry.incarnation(), registration.lease.incarnation());
        assert_eq!((entry.created(), entry.modified()), (registration.revision, registration.revision));
        assert!(snapshot.revision() >= registration.revision);
    }
}

/// The revision that `register` returns is the one at which watches deliver it.
pub async fn a_registration_is_watched_at_exactly_its_revision(backend: &dyn Backend) {
    let (client, other) = (backend.client().await, backend.client().await);
    let mut watcher = Watcher::ready(&*other, &user()).await;
    for n in 1..=3 {
        let registration = register(&*client, &instance(n)).await;
        let batch = watcher.next_changes().await;
        assert_eq!(batch.cursor.revision(), registration.revision);
        assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.instance() == &instance(n)));
    }
}

/// The lease names what was registered, and gets at least the TTL asked for.
pub async fn a_registration_tells_its_lease_and_at_least_the_ttl_asked_for(backend: &dyn Backend) {
    let client = backend.client().await;
    let asked = Ttl::from_secs(lasting(&*client).get().as_secs() + 1).unwrap_or(Ttl::MAX);
    let registration = register_with(&*client, &instance(1), &options(&*client).with_ttl(asked)).await;
    assert_eq!(registration.lease.service(), &user());
    assert_eq!(registration.lease.id(), instance(1).id());
    assert!(registration.ttl >= asked, "{} was granted, {asked} asked for", registration.ttl);
}

/// The same token again is the same attempt again: the same lease, one entry, and no change.
pub async fn registering_again_with_one_token_gives_the_same_lease(backend: &dyn Backend) {
    let client = backend.client().await;
    let options = options(&*client);
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let first = register_with(&*client, &instance(1), &options).await;
    for on_conflict in [OnConflict::TakeOver, OnConflict::Refuse, OnConflict::Reclaim] {
        let again = options.clone().with_on_conflict(on_conflict);
        let again = register_with(&*backend.client().await, &instance(1), &again).await;
        assert_eq!(again.lease, first.lease, "{on_conflict:?}");
    }
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
    super::support::answer(client.keepalive(&first.lease)).await;
    register(&*client, &instance(2)).await;
    watcher.until("the second instance", |view| view.len() == 2).await;
    let incarnations: Vec<_> = watcher.view().iter().map(|entry| entry.created()).collect();
    assert_eq!(incarnations[0], first.revision, "an entry that was registered twice was created once");
}

/// Repeating a registration counts as a heartbeat.
pub async fn registering_again_with_one_token_gives_a_full_ttl(backend: &dyn Backend) {
    let client = backend.client().await;
    let options = options(&*client).with_ttl(brief(&*client));
    let ttl = register_with(&*client, &instance(1), &options).await.ttl.get();
    sleep_until(Instant::now() + ttl / 2).await;
    let again = Instant::now();
    register_with(&*client, &instance(1), &options).await;
    super::leases::require_listed_until(&*client, &[&instance(1)], again + ttl).await;
}

/// What is registered again and differs replaces what is listed, in place.
pub async fn registering_again_with_one_token_replaces_what_differs(backend: &dyn Backend) {
    let client = backend.client().await;
    let options = options(&*client);
    let first = register_with(&*client, &instance(1), &options).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let again = register_with(&*client, &weighing(&instance(1), 7), &options).await;
    assert_eq!(again.lease, first.lease);
    assert!(again.revision > first.revision);
    let batch = watcher.next_changes().await;
    assert_eq!(batch.cursor.revision(), again.revision);
    assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.instance().weight().get() == 7));
    assert_eq!(entry(&lookup(&*client, &user()).await, instance(1).id()).instance().weight().get(), 7);
}

/// A retry that overtakes its first attempt still makes one entry and one lease.
pub async fn attempts_with_one_token_side_by_side_make_one_entry(backend: &dyn Backend) {
    let clients = [backend.client().await, backend.client().await, backend.client().await];
    let (options, instance) = (options(&*clients[0]), instance(1));
    let attempts = clients.iter().map(|client| register_with(&**client, &instance, &options));
    let registrations = join_all(attempts).await;
    assert!(registrations.iter().all(|registration| registration.lease == registrations[0].lease));
    assert_eq!(lookup(&*clients[0], &user()).await.len(), 1);
    super::support::answer(clients[0].deregister(&registrations[0].lease)).await;
    assert!(lookup(&*clients[1], &user()).await.is_empty());
}

/// A process that crashed and restarts within its TTL is registered at once. (A class of bug: refusing it as a duplicate.)
pub async fn a_restart_within_the_ttl_is_not_refused(backend: &dyn Backend) {
    let client = backend.client().await;
    let crashed = register(&*client, &instance(1)).await;
    let defaults = RegisterOptions::new().with_ttl(lasting(&*client));
    let restarted = register_with(&*backend.client().await, &instance(1), &defaults).await;
    assert!(restarted.lease.incarnation() > crashed.lease.incarnation());
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
}

/// `Refuse` takes an id only when nobody holds it.
pub async fn refuse_takes_only_an_id_that_nobody_holds(backend: &dyn Backend) {
    let client = backend.client().await;
    let refusing = || options(&*client).with_on_conflict(OnConflict::Refuse);
    let holder = register_with(&*client, &instance(1), &refusing()).await;
    let before = lookup(&*client, &user()).await;
    let other = weighing(&instance(1), 7);
    refused(ErrorKind::AlreadyRegistered, client.register(&other, &refusing())).await;
    assert_eq!(super::support::entries(&lookup(&*client, &user()).await), super::support::entries(&before));
    super::support::answer(client.deregister(&holder.lease)).await;
    register_with(&*client, &other, &refusing()).await;
}

/// Of many who ask for one id at once, and would refuse to take it over, one gets it.
pub async fn of_claims_side_by_side_that_refuse_one_wins(backend: &dyn Backend) {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(backend.client().await);
    }
    let instance = instance(1);
    let claims = clients.iter().map(async |client| {
        let options = options(&**client).with_on_conflict(OnConflict::Refuse);
        client.register(&instance, &options).await
    });
    let claims = join_all(claims).await;
    let winners: Vec<_> = claims.iter().filter_map(|claim| claim.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{claims:?}");
    for loser in claims.iter().filter_map(|claim| claim.as_ref().err()) {
        assert_eq!(loser.kind(), ErrorKind::AlreadyRegistered, "{loser}");
    }
    super::support::answer(clients[0].keepalive(&winners[0].lease)).await;
}

/// Of many who take one id over at once, exactly one holds it in the end, and all agree on who.
pub async fn of_takeovers_side_by_side_one_holds_the_id_in_the_end(backend: &dyn Backend) {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(backend.client().await);
    }
    let instance = instance(1);
    let registrations = join_all(clients.iter().map(|client| register(&**client, &instance))).await;
    let mut incarnations: Vec<_> =
        registrations.iter().map(|registration| registration.lease.incarnation()).collect();
    incarnations.sort_unstable();
    let newest = *incarnations.last().expect("eight of them");
    incarnations.dedup();
    assert_eq!(incarnations.len(), 8, "no two owners have one incarnation");
    for registration in &registrations {
        let held = clients[0].keepalive(&registration.lease).await.is_ok();
        assert_eq!(held, registration.lease.incarnation() == newest);
    }
    assert_eq!(entry(&lookup(&*clients[0], &user()).await, instance.id()).incarnation(), newest);
}

/// A registration gets the claimed incarnation, or one more than the one it replaces, whichever is higher.
pub async fn an_incarnation_is_the_claim_or_one_more_than_the_one_replaced(backend: &dyn Backend) {
    let client = backend.client().await;
    for (claim, given) in [(100, 100), (50, 101), (101, 102), (500, 500)] {
        let options = options(&*client).with_claim(Incarnation::new(claim));
        let registration = register_with(&*client, &instance(1), &options).await;
        assert_eq!(registration.lease.incarnation().get(), given, "claimed {claim}");
    }
}

/// One id in two services is two instances, and one token may be used for many.
pub async fn one_id_in_two_services_is_two_instances(backend: &dyn Backend) {
    let client = backend.client().await;
    let other = super::support::service("order.rpc");
    let options = options(&*client).with_token(OwnerToken::from_u128(42));
    let first = register_with(&*client, &instance(1), &options).await;
    let same_id = super::support::instance_of(&other, 1);
    let second = register_with(&*client, &same_id, &options).await;
    assert_eq!(first.lease.id(), second.lease.id());
    assert_eq!(ids(&lookup(&*client, &user()).await), [same_id.id().as_str()]);
    super::support::answer(client.keepalive(&first.lease)).await;
    super::support::answer(client.deregister(&first.lease)).await;
    assert!(lookup(&*client, &user()).await.is_empty());
    assert_eq!(ids(&lookup(&*client, &other).await), [same_id.id().as_str()]);
    super::support::answer(client.keepalive(&second.lease)).await;
}
