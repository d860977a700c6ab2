//! Leases: not early, late only within bounds.

use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{Change, DeleteCause, DeleteCauses, ErrorKind, Instance, Registry};
use tokio::time::{Instant, sleep, sleep_until};

use super::Backend;
use super::support::{
    PATIENCE, answer, brief, eventually, instance, instance_of, lookup, options, refused, register,
    register_briefly, register_with, service, user,
};
use super::watcher::Watcher;

/// Requires that every lookup that is answered before `deadline` lists all `instances`.
pub(super) async fn require_listed_until(client: &dyn Registry, instances: &[&Instance], deadline: Instant) {
    let step = deadline.saturating_duration_since(Instant::now()) / 40;
    loop {
        let snapshot = lookup(client, instances[0].service()).await;
        let answered = Instant::now();
        if answered >= deadline {
            return;
        }
        for instance in instances {
            let left = deadline - answered;
            assert!(snapshot.get(instance.id()).is_some(), "{} is gone {left:?} early", instance.id());
        }
        let last = deadline - Duration::from_millis(1);
        let next = Instant::now() + step.max(Duration::from_millis(1));
        sleep_until(if Instant::now() < last { next.min(last) } else { deadline }).await;
    }
}

/// How long a change may take to show in a lookup.
pub(super) fn reading_lag(client: &dyn Registry) -> Duration {
    if client.guarantees().linearizable_reads { Duration::ZERO } else { client.guarantees().convergence }
}

/// Requires that `instance` is not listed after `deadline`.
pub(super) async fn require_gone_by(client: &dyn Registry, instance: &Instance, deadline: Instant) {
    sleep_until(deadline).await;
    let gone = async || lookup(client, instance.service()).await.get(instance.id()).is_none().then_some(());
    eventually("the end of a lease that is over", reading_lag(client), gone).await;
}

/// Not early: an entry is listed until the invocation of its registration + TTL.
pub async fn an_entry_is_listed_until_its_ttl_is_over(backend: &dyn Backend) {
    let client = backend.client().await;
    let invoked = Instant::now();
    let registration = register_briefly(&*client, &instance(1)).await;
    require_listed_until(&*client, &[&instance(1)], invoked + registration.ttl.get()).await;
}

/// Not early for watches either.
pub async fn a_watch_shows_an_entry_until_its_ttl_is_over(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let invoked = Instant::now();
    let registration = register_briefly(&*client, &instance(1)).await;
    watcher.until("the instance", |view| view.len() == 1).await;
    let end = invoked + registration.ttl.get();
    while watcher.try_next(end - Duration::from_millis(1)).await.is_some() {
        assert_eq!(watcher.view().len(), 1, "gone {:?} early", end - Instant::now());
    }
}

/// A heartbeat gives a full TTL, counted from its invocation at the earliest.
pub async fn a_heartbeat_gives_a_full_ttl(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    sleep(registration.ttl.get() * 2 / 3).await;
    let invoked = Instant::now();
    answer(client.keepalive(&registration.lease)).await;
    require_listed_until(&*client, &[&instance(1)], invoked + registration.ttl.get()).await;
}

/// Heartbeats keep an entry listed for many TTLs, and are no news to watches.
pub async fn heartbeats_keep_an_entry_listed_and_are_not_news(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for _ in 0..6 {
        sleep(registration.ttl.get() / 2).await;
        answer(client.keepalive(&registration.lease)).await;
        assert_eq!(lookup(&*client, &user()).await.len(), 1);
    }
    let marker = register(&*client, &instance(2)).await;
    watcher.until_revision(marker.revision).await;
    assert_eq!(watcher.changes(), [(marker.revision, instance(2).id().clone())]);
}

/// An entry that is not renewed is gone by the end of its TTL + `expiry_bound`, from lookups and from watches.
pub async fn an_entry_is_gone_by_its_ttl_and_the_bound(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let bound = client.guarantees().expiry_bound;
    let end = Instant::now() + registration.ttl.get() + bound;
    watcher.until("the instance", |view| view.len() == 1).await;
    require_gone_by(&*client, &instance(1), end).await;
    watcher
        .until_by(end + client.guarantees().convergence, "the end of the lease", |view| view.is_empty())
        .await;
}

/// As an earlier heartbeat bought a TTL, a later one does not buy two.
pub async fn heartbeats_do_not_add_up(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    for _ in 0..5 {
        answer(client.keepalive(&registration.lease)).await;
    }
    let end = Instant::now() + registration.ttl.get() + client.guarantees().expiry_bound;
    require_gone_by(&*client, &instance(1), end).await;
}

/// Watches hear of an expiry without anybody looking anything up, as one `Delete` that does not claim that its owner left.
pub async fn an_expiry_is_one_delete_to_a_watch_that_nobody_helps(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let bound = client.guarantees().expiry_bound + client.guarantees().convergence;
    let deadline = Instant::now() + registration.ttl.get() + bound;
    while watcher.batches.is_empty() {
        assert!(watcher.try_next(deadline).await.is_some(), "no word of the expiry within {bound:?}");
    }
    let [Change::Delete { id, cause }] = &watcher.batches[0].changes[..] else {
        panic!("one Delete was due: {:?}", watcher.batches)
    };
    assert_eq!(id, instance(1).id());
    let unknown = *cause == DeleteCause::Unknown && client.guarantees().delete_causes < DeleteCauses::All;
    assert!(*cause == DeleteCause::Expired || unknown, "{cause:?}");
}

/// What lookup no longer lists, no watch goes on showing.
pub async fn a_watch_and_lookup_agree_on_what_expired(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    register_briefly(&*client, &instance(2)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let gone = async || (lookup(&*client, &user()).await.len() == 1).then_some(());
    let within = brief(&*client).get() + client.guarantees().expiry_bound + PATIENCE;
    eventually("the expiry", within, gone).await;
    watcher.settle_by(&*client, Instant::now() + client.guarantees().convergence).await;
}

/// Each entry has a lease of its own: one that is not renewed goes although its siblings live. (A class of bug: one expiry
/// for all instances of a service.)
pub async fn a_dead_instance_goes_although_its_siblings_live(backend: &dyn Backend) {
    let client = backend.client().await;
    let dead = register_briefly(&*client, &instance(1)).await;
    let end = Instant::now() + dead.ttl.get() + client.guarantees().expiry_bound;
    let sibling = register_briefly(&*client, &instance(2)).await;
    let ttl = sibling.ttl.get();
    while Instant::now() < end {
        sleep_until((Instant::now() + ttl / 4).min(end)).await;
        answer(client.keepalive(&sibling.lease)).await;
        register_with(&*client, &instance_of(&service("other"), 3), &options(&*client)).await;
    }
    require_gone_by(&*client, &instance(1), end).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1, "the sibling is alive");
}

/// An entry that was renewed just before its deadline stays. (A class of bug: a cleaner that lists what is due, and deletes it later
/// without comparing.)
pub async fn an_entry_renewed_at_the_last_moment_is_not_cleaned_away(backend: &dyn Backend) {
    let client = backend.client().await;
    let names: Vec<_> = (1..=20).map(instance).collect();
    let invoked = Instant::now();
    let registrations = join_all(names.iter().map(|name| register_briefly(&*client, name))).await;
    let ttl = registrations[0].ttl.get();
    // Some are renewed in time and some are not, around the same moment.
    sleep_until(invoked + ttl - ttl / 10).await;
    let renewed = Instant::now();
    let even = registrations.iter().step_by(2);
    let beats = join_all(even.map(|registration| client.keepalive(&registration.lease))).await;
    let alive: Vec<_> =
        names.iter().step_by(2).zip(&beats).filter(|(_, beat)| beat.is_ok()).map(|(name, _)| name).collect();
    assert!(!alive.is_empty(), "{beats:?}");
    require_listed_until(&*client, &alive, renewed + ttl).await;
}

/// Many leases that fall due together all end within the bound.
pub async fn many_leases_that_fall_due_together_all_end(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let names: Vec<_> = (1..=200).map(instance).collect();
    let registrations = join_all(names.iter().map(|name| register_briefly(&*client, name))).await;
    let ttl = registrations[0].ttl.get();
    // How much the bound grows with their number is the backend's own matter; that all of them go is not.
    let deadline = Instant::now() + ttl + client.guarantees().expiry_bound + PATIENCE;
    watcher.until("the instances", |view| !view.is_empty()).await;
    loop {
        watcher.until_by(deadline, "the end of all leases", |view| view.is_empty()).await;
        if lookup(&*client, &user()).await.is_empty() {
            return;
        }
        // On a machine so busy that the first ended before the last were registered, these are still to come.
        watcher.until_by(deadline, "those that were registered late", |view| !view.is_empty()).await;
    }
}

/// After the end there is nothing to renew: the heartbeat says so, and brings nothing back.
pub async fn a_heartbeat_after_the_end_is_lease_lost_and_brings_nothing_back(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let gone = async || lookup(&*client, &user()).await.is_empty().then_some(());
    let within = registration.ttl.get() + client.guarantees().expiry_bound + PATIENCE;
    eventually("the end of the lease", within, gone).await;
    for _ in 0..3 {
        refused(ErrorKind::LeaseLost, client.keepalive(&registration.lease)).await;
        refused(ErrorKind::LeaseLost, client.update(&registration.lease, &instance(1))).await;
        assert!(lookup(&*client, &user()).await.is_empty());
    }
    let marker = register(&*client, &instance(2)).await;
    watcher.until_revision(marker.revision).await;
    assert_eq!(watcher.changes().len(), 2, "a Delete and the marker: {:?}", watcher.changes());
}
