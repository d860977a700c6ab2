//! A [`Registrar`] over the backend: it keeps its promise through everything, and leaves in order.

use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    ErrorKind, Instance, Registrar, RegistrarOptions, RegistrarState, Registry, Snapshot, Status, WhenFenced,
};
use tokio::time::{Instant, timeout};

use super::Backend;
use super::support::{
    PATIENCE, answer, brief, entry, eventually, instance, lookup, register, user, weighing,
};
use super::watcher::Watcher;

fn options(client: &dyn Registry) -> RegistrarOptions {
    RegistrarOptions::new().with_ttl(brief(client)).with_shutdown_timeout(Duration::from_secs(2))
}

async fn started(client: &Arc<dyn Registry>, instance: Instance) -> Registrar {
    let registrar = Registrar::start(Arc::clone(client), instance, options(&**client));
    answer(registrar.registered()).await;
    registrar
}

/// Waits for a state of this name.
async fn until_state(registrar: &Registrar, name: &str) -> Arc<RegistrarState> {
    let wanted = async || Some(registrar.state()).filter(|state| state.name() == name);
    eventually(&format!("the registrar is {name}"), PATIENCE, wanted).await
}

/// A registered instance is listed without a break for many TTLs, and heartbeats are no news.
pub async fn a_registrar_keeps_its_instance_listed(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let end = Instant::now() + brief(&*client).get() * 3;
    while Instant::now() < end {
        watcher.rest(brief(&*client).get() / 5).await;
        assert_eq!(watcher.view().len(), 1);
        assert_eq!(lookup(&*client, &user()).await.len(), 1);
    }
    assert!(watcher.changes().is_empty(), "{:?}", watcher.changes());
    answer(registrar.shutdown()).await;
    watcher.until("its leaving", |view| view.is_empty()).await;
}

/// Registered again within a heartbeat or two after the store was emptied.
pub async fn a_registrar_heals_after_a_wipe(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.wipe().await;
    watcher.until_reset("a Reset after the wipe").await;
    watcher.until("the instance again", |view| view.len() == 1).await;
    until_state(&registrar, "registered").await;
    answer(registrar.shutdown()).await;
}

/// Likewise after an operator deleted its entry.
pub async fn a_registrar_heals_after_an_operators_delete(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for _ in 0..2 {
        backend.delete(&user(), instance(1).id()).await;
        watcher.until("the deletion", |view| view.is_empty()).await;
        watcher.until("the instance again", |view| view.len() == 1).await;
        until_state(&registrar, "registered").await;
    }
    answer(registrar.shutdown()).await;
}

/// Likewise after someone overwrote its entry.
pub async fn a_registrar_heals_after_a_foreign_overwrite(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.overwrite(&weighing(&instance(1), 7)).await;
    let weight = |view: &Snapshot| entry(view, instance(1).id()).instance().weight().get();
    watcher.until("what the other wrote", |view| weight(view) == 7).await;
    watcher.until("its own again", |view| weight(view) == 100).await;
    answer(registrar.shutdown()).await;
}

/// Likewise after its lease was ended.
pub async fn a_registrar_heals_after_an_expiry(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.expire(&user(), instance(1).id()).await;
    watcher.until("the expiry", |view| view.is_empty()).await;
    watcher.until("the instance again", |view| view.len() == 1).await;
    answer(registrar.shutdown()).await;
}

/// Likewise after the store was killed and started again.
pub async fn a_registrar_heals_after_a_restart_of_the_store(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    backend.restart().await;
    let back = async || client.lookup(&user()).await.ok().filter(|listed| listed.len() == 1);
    eventually("the instance again", PATIENCE, back).await;
    until_state(&registrar, "registered").await;
    answer(registrar.update(weighing(&instance(1), 7))).await;
    answer(registrar.shutdown()).await;
}

/// After an outage longer than its TTL it is listed again soon: at the next back-off, not minutes later.
pub async fn a_registrar_heals_soon_after_an_outage(backend: &dyn Backend) {
    let other = backend.client().await;
    let (client, link) = backend.linked_client().await;
    let registrar = started(&client, instance(1)).await;
    let ttl = brief(&*client).get();
    link.cut().await;
    let gone = async || lookup(&*other, &user()).await.is_empty().then_some(());
    eventually("the end of its lease", ttl + other.guarantees().expiry_bound + PATIENCE, gone).await;
    until_state(&registrar, "recovering").await;
    link.heal().await;
    let healed = Instant::now();
    let back = async || (lookup(&*other, &user()).await.len() == 1).then_some(());
    eventually("the instance again", Duration::from_secs(5), back).await;
    assert!(healed.elapsed() <= Duration::from_secs(5));
    until_state(&registrar, "registered").await;
    answer(registrar.shutdown()).await;
}

/// A cut shorter than what is left of the TTL costs nobody anything.
pub async fn a_short_cut_costs_a_registrar_nothing(backend: &dyn Backend) {
    let other = backend.client().await;
    let (client, link) = backend.linked_client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*other, &user()).await;
    for pause in [3, 30, 7, 12] {
        link.cut().await;
        watcher.rest(Duration::from_millis(pause)).await;
        link.heal().await;
        watcher.rest(brief(&*client).get()).await;
        assert_eq!(watcher.view().len(), 1);
    }
    assert!(watcher.changes().is_empty(), "{:?}", watcher.changes());
    answer(registrar.shutdown()).await;
}

/// Starting waits for no server: it registers once there is one.
pub async fn a_registrar_started_in_an_outage_registers_after_it(backend: &dyn Backend) {
    let other = backend.client().await;
    let (client, link) = backend.linked_client().await;
    link.cut().await;
    let registrar = Registrar::start(Arc::clone(&client), instance(1), options(&*client));
    let tried =
        async || matches!(&*registrar.state(), RegistrarState::Starting { error: Some(_) }).then_some(());
    eventually("a first attempt", PATIENCE, tried).await;
    link.heal().await;
    let there = async || (lookup(&*other, &user()).await.len() == 1).then_some(());
    eventually("the instance", PATIENCE, there).await;
    answer(registrar.shutdown()).await;
    assert!(lookup(&*other, &user()).await.is_empty());
}

/// Leaving in order: marked as draining, kept for the grace, then gone, and clients see each step.
pub async fn draining_marks_waits_and_leaves(backend: &dyn Backend) {
    let client = backend.client().await;
    let registrar = started(&client, instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let grace = brief(&*client).get() * 3 / 2;
    let invoked = Instant::now();
    let draining = tokio::spawn(registrar.drain(grace));
    let marked = |view: &Snapshot| entry(view, instance(1).id()).instance().status() == Status::Draining;
    watcher.until("the mark", marked).await;
    watcher.until("its leaving", |view| view.is_empty()).await;
    assert!(invoked.elapsed() >= grace, "it left after {:?} of {grace:?}", invoked.elapsed());
    draining.await.expect("it ends").expect("it is known to be gone");
    assert_eq!(watcher.changes().len(), 2, "a Put and a Delete");
}

/// Shutting down ends in bounded time though the registry is away, and says so. (A class of bug: it hangs.)
pub async fn shutting_down_is_bounded_when_the_registry_is_away(backend: &dyn Backend) {
    for black_hole in [false, true] {
        let (client, link) = backend.linked_client().await;
        let registrar = started(&client, instance(1)).await;
        if black_hole {
            link.black_hole().await
        } else {
            link.cut().await
        }
        let shutdown = timeout(Duration::from_secs(10), registrar.shutdown()).await;
        shutdown.expect("it ends in time").expect_err("it cannot know that it is deregistered");
        link.heal().await;
    }
}

/// Two processes with one id never fight: the newer one stays, the older one stops, visibly, and nothing flaps.
pub async fn two_registrars_of_one_id_do_not_fight(backend: &dyn Backend) {
    let (older, newer) = (backend.client().await, backend.client().await);
    let first = started(&older, instance(1)).await;
    let mut watcher = Watcher::ready(&*newer, &user()).await;
    let second = started(&newer, weighing(&instance(1), 7)).await;
    until_state(&first, "fenced").await;
    assert_eq!(first.registered().await.expect_err("fenced").kind(), ErrorKind::AlreadyRegistered);
    watcher.rest(brief(&*newer).get() * 2).await;
    assert!(second.state().is_registered(), "{:?}", second.state());
    assert_eq!(first.state().name(), "fenced", "it stays so");
    assert_eq!(watcher.changes().len(), 1, "one takeover and no more: {:?}", watcher.changes());
    // Leaving, the fenced one takes nothing with it.
    answer(first.shutdown()).await;
    assert_eq!(entry(&lookup(&*newer, &user()).await, instance(1).id()).instance().weight().get(), 7);
    answer(second.shutdown()).await;
    watcher.until("the leaving of the second", |view| view.is_empty()).await;
}

/// One that was fenced comes back, if it was told to, once the id is free, and not before.
pub async fn a_fenced_registrar_returns_when_the_id_is_free(backend: &dyn Backend) {
    let client = backend.client().await;
    let options = options(&*client).with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let registrar = Registrar::start(Arc::clone(&client), instance(1), options);
    answer(registrar.registered()).await;
    let other = register(&*client, &weighing(&instance(1), 7)).await;
    until_state(&registrar, "fenced").await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    watcher.rest(brief(&*client).get() * 2).await;
    assert!(watcher.changes().is_empty(), "the id is held: {:?}", watcher.changes());
    answer(client.deregister(&other.lease)).await;
    watcher.until("the other's leaving", |view| view.is_empty()).await;
    watcher.until("its return", |view| view.len() == 1).await;
    until_state(&registrar, "registered").await;
    answer(registrar.shutdown()).await;
}

/// Whatever is cut and compacted, one registration never has two live entries, and none outlives its shutdown. (A class of bug: after a
/// compaction during a cut a second key is registered and the first never revoked.)
pub async fn one_registration_never_has_two_entries(backend: &dyn Backend) {
    let other = backend.client().await;
    let (client, link) = backend.linked_client().await;
    let registrar = started(&client, instance(1)).await;
    for n in 0..4 {
        if n % 2 == 0 {
            link.cut().await
        } else {
            link.black_hole().await
        }
        answer(other.lookup(&user())).await;
        register(&*other, &super::support::instance_of(&super::support::service("noise"), n)).await;
        backend.compact().await;
        link.heal().await;
        answer(registrar.update(weighing(&instance(1), n as u32))).await;
        assert!(lookup(&*other, &user()).await.len() <= 1);
    }
    answer(registrar.shutdown()).await;
    assert!(lookup(&*other, &user()).await.is_empty(), "nothing outlives the shutdown");
}
