//! `guarantees()`: for each field a test that fails were one notch more claimed than is true.

use std::time::Duration;

use registry_core::{
    AfterDisruption, Durability, GapDetection, Instance, Registry, ResetCause, RevisionScope, Ttl,
};
use tokio::time::{Instant, sleep, sleep_until};

use super::Backend;
use super::leases::{require_gone_by, require_listed_until};
use super::support::{
    answer, brief, eventually, instance, instance_of, lookup, options, register, register_briefly,
    register_with, service, until_answered, user, weighing,
};
use super::watcher::Watcher;

/// All clients of one store claim the same, at all times.
pub async fn guarantees_are_the_same_for_every_client(backend: &dyn Backend) {
    let client = backend.client().await;
    let first = client.guarantees();
    register(&*client, &instance(1)).await;
    assert_eq!(backend.client().await.guarantees(), first);
    assert_eq!(client.guarantees(), first);
}

/// `revision_scope`: revisions rise with every change of a service; where the store is the scope, across services too.
pub async fn revisions_rise_within_the_claimed_scope(backend: &dyn Backend) {
    let client = backend.client().await;
    let scope = client.guarantees().revision_scope;
    let names = ["a", "b", "user.rpc"].map(service);
    let mut last = vec![None; names.len()];
    for round in 0..4 {
        for (at, name) in names.iter().enumerate() {
            let revision = register(&*client, &instance_of(name, round)).await.revision;
            let seen = lookup(&*client, name).await.cursor();
            assert!(seen.revision() >= revision);
            let before =
                if scope == RevisionScope::Store { last.iter().flatten().max() } else { last[at].as_ref() };
            assert!(before.is_none_or(|before| *before < revision), "{revision} of {name} after {before:?}");
            last[at] = Some(revision);
        }
    }
    if scope == RevisionScope::Store {
        let mut epochs = Vec::new();
        for name in &names {
            epochs.push(lookup(&*client, name).await.epoch());
        }
        assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "revisions of two epochs cannot be compared");
    }
}

/// `linearizable_reads`: every lookup shows what was acknowledged before it was invoked, to whomever. Without the claim: within
/// `convergence`.
pub async fn lookups_show_what_was_acknowledged(backend: &dyn Backend) {
    let (writer, reader) = (backend.client().await, backend.client().await);
    let lag = super::leases::reading_lag(&*writer);
    let registration = register(&*writer, &instance(1)).await;
    for weight in 0..50 {
        let revision = answer(writer.update(&registration.lease, &weighing(&instance(1), weight))).await;
        let current = async || (lookup(&*reader, &user()).await.revision() >= revision).then_some(());
        eventually("what was acknowledged", lag, current).await;
    }
    answer(writer.deregister(&registration.lease)).await;
    let gone = async || lookup(&*reader, &user()).await.is_empty().then_some(());
    eventually("the deletion that was acknowledged", lag, gone).await;
}

/// `expiry_bound`: how late an entry goes at most, measured over entries that fall due at different moments.
pub async fn entries_go_within_the_claimed_bound(backend: &dyn Backend) {
    let client = backend.client().await;
    let bound = client.guarantees().expiry_bound;
    let mut ends = Vec::new();
    for n in 0..4 {
        let registration = register_briefly(&*client, &instance(n)).await;
        ends.push((instance(n), Instant::now() + registration.ttl.get() + bound));
        sleep(Duration::from_millis(130)).await;
    }
    for (instance, end) in ends {
        require_gone_by(&*client, &instance, end).await;
    }
}

/// `min_ttl`: the least TTL that can be asked for is raised to it and no further, and is kept.
pub async fn the_claimed_least_ttl_is_granted(backend: &dyn Backend) {
    let client = backend.client().await;
    let least = client.guarantees().min_ttl;
    for asked in [Ttl::MIN, least] {
        let registration = register_with(&*client, &instance(1), &options(&*client).with_ttl(asked)).await;
        assert_eq!(registration.ttl, asked.max(least), "{asked} was asked for");
    }
    let longer = Ttl::from_secs(least.get().as_secs() * 2 + 3).unwrap_or(Ttl::MAX);
    let registration = register_with(&*client, &instance(1), &options(&*client).with_ttl(longer)).await;
    assert!(registration.ttl >= longer);
}

/// `convergence`: after a black hole too, a watch shows the present within it.
pub async fn watches_converge_within_the_claimed_time(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    register(&*client, &instance(0)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    for round in 1..=3 {
        link.black_hole().await;
        watcher.until_stale().await;
        register(&*client, &instance(round)).await;
        watcher.rest(Duration::from_millis(400 * round as u64)).await;
        link.heal().await;
        let deadline = Instant::now() + client.guarantees().convergence;
        watcher.settle_by(&*client, deadline).await;
        assert_eq!(watcher.view().len(), round + 1);
        if watcher.is_stale() {
            watcher.until_live().await;
        }
    }
}

/// `gap_detection`: a cursor whose following history is gone is never resumed as if nothing were missing.
pub async fn gaps_are_told_where_that_is_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    let old = lookup(&*client, &user()).await;
    answer(client.deregister(&registration.lease)).await;
    register(&*client, &instance(3)).await;
    backend.compact().await;
    let last = register(&*client, &instance(4)).await;
    let mut watcher = Watcher::after(&*client, &old);
    watcher.until_revision(last.revision).await;
    if client.guarantees().gap_detection == GapDetection::Always {
        assert_eq!(watcher.resets, [ResetCause::Compacted], "W7: changes were lost, or told from a hole");
        assert_eq!(watcher.view().len(), 3);
    }
    watcher
        .settle_by(&*client, Instant::now() + client.guarantees().convergence.max(super::support::PATIENCE))
        .await;
}

/// Writes that were acknowledged, for [`require_survived`].
async fn acknowledged(client: &dyn Registry) -> Vec<Instance> {
    let mut written = Vec::new();
    for n in 0..20 {
        let registration = register(client, &instance(n)).await;
        let instance = weighing(&instance(n), n as u32);
        answer(client.update(&registration.lease, &instance)).await;
        written.push(instance);
    }
    written
}

/// Where at least `needed` is claimed, everything in `written` is still there.
async fn require_survived(client: &dyn Registry, needed: Durability, written: &[Instance]) {
    let listed = until_answered(async || client.lookup(&user()).await).await;
    if client.guarantees().durability >= needed {
        for instance in written {
            let entry = super::support::entry(&listed, instance.id());
            assert_eq!(entry.instance(), instance, "an acknowledged update is lost");
        }
    }
    let registering = async || client.register(&instance(99), &options(client)).await;
    until_answered(registering).await;
}

/// `durability`: an acknowledged write survives `kill -9` of the store, where that is claimed; the registry works afterwards in any
/// case.
pub async fn acknowledged_writes_survive_a_crash_where_that_is_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let written = acknowledged(&*client).await;
    backend.restart().await;
    require_survived(&*client, Durability::ProcessCrash, &written).await;
}

/// `durability`: likewise a power cut.
pub async fn acknowledged_writes_survive_a_power_cut_where_that_is_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let written = acknowledged(&*client).await;
    backend.power_cut().await;
    require_survived(&*client, Durability::PowerCut, &written).await;
}

/// `durability`: likewise the loss of a minority of the servers.
pub async fn acknowledged_writes_survive_a_minority_where_that_is_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let written = acknowledged(&*client).await;
    backend.lose_minority().await;
    require_survived(&*client, Durability::MinorityLoss, &written).await;
}

/// `after_disruption`: entries whose TTL has not run out are still there after all clients were cut off for a while, unless losing
/// them is admitted.
pub async fn after_a_disruption_entries_are_not_early(backend: &dyn Backend) {
    let client = backend.client().await;
    let ttl = brief(&*client).get() * 2;
    let options = options(&*client).with_ttl(Ttl::new(ttl).unwrap_or(Ttl::MAX));
    let invoked = Instant::now();
    let registration = register_with(&*client, &instance(1), &options).await;
    backend.pause().await;
    sleep(ttl / 4).await;
    backend.resume().await;
    until_answered(async || client.lookup(&user()).await).await;
    if client.guarantees().after_disruption >= AfterDisruption::ExtendedByAtMostOneTtl {
        require_listed_until(&*client, &[&instance(1)], invoked + registration.ttl.get()).await;
    }
}

/// `after_disruption`: entries whose TTL ran out during it are gone when it is over, as late as claimed: at once, or one TTL more.
pub async fn after_a_disruption_entries_are_late_only_as_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register_briefly(&*client, &instance(1)).await;
    let ttl = registration.ttl.get();
    let guarantees = client.guarantees();
    backend.pause().await;
    sleep(ttl * 3 / 2).await;
    backend.resume().await;
    let extra = match guarantees.after_disruption {
        AfterDisruption::Exact => Duration::ZERO,
        _ => ttl,
    };
    let end = Instant::now() + extra + guarantees.expiry_bound;
    until_answered(async || client.lookup(&user()).await).await;
    sleep_until(end).await;
    require_gone_by(&*client, &instance(1), end).await;
}

/// `after_disruption` with `durability`: what survived `kill -9` is not early, and is gone one TTL after the restart at the latest.
pub async fn after_a_restart_leases_go_on_as_claimed(backend: &dyn Backend) {
    let client = backend.client().await;
    let ttl = brief(&*client).get() * 4;
    let options = options(&*client).with_ttl(Ttl::new(ttl).unwrap_or(Ttl::MAX));
    let invoked = Instant::now();
    let registration = register_with(&*client, &instance(1), &options).await;
    let registered = Instant::now();
    backend.restart().await;
    let up = Instant::now();
    until_answered(async || client.lookup(&user()).await).await;
    let (guarantees, ttl) = (client.guarantees(), registration.ttl.get());
    let survives = guarantees.durability >= Durability::ProcessCrash;
    if survives && guarantees.after_disruption >= AfterDisruption::ExtendedByAtMostOneTtl {
        require_listed_until(&*client, &[&instance(1)], invoked + ttl).await;
    }
    let end = match guarantees.after_disruption {
        AfterDisruption::Exact => registered + ttl,
        _ => up.max(registered + ttl) + ttl,
    };
    require_gone_by(&*client, &instance(1), end + guarantees.expiry_bound).await;
}
