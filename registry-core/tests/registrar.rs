//! Keeping one registration true, whatever happens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry_core::{
    Directory, Entry, ErrorKind, Instance, InstanceId, OnConflict, RegisterOptions, Registrar,
    RegistrarOptions, RegistrarState, Registry, RegistryExt, ServiceName, Status, Ttl, WhenFenced,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, timeout};

const TTL: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(10);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance() -> Instance {
    Instance::builder(service()).endpoint("10.0.0.7:8080").build().unwrap()
}

fn id() -> InstanceId {
    instance().id().clone()
}

fn options() -> RegistrarOptions {
    RegistrarOptions::new().with_ttl(Ttl::new(TTL).unwrap())
}

async fn start(registry: &MemoryRegistry) -> Registrar {
    let registrar = Registrar::start(Arc::new(registry.clone()), instance(), options());
    timeout(SOON, registrar.registered()).await.unwrap().unwrap();
    registrar
}

/// Waits until the registrar is in the state of this name.
async fn state(registrar: &Registrar, name: &str) -> Arc<RegistrarState> {
    let mut states = registrar.states();
    let wanted = async {
        loop {
            let state = states.changed().await;
            if state.name() == name {
                return state;
            }
        }
    };
    timeout(SOON, wanted).await.unwrap_or_else(|_| panic!("{registrar:?} never becomes {name}"))
}

async fn entry(registry: &MemoryRegistry) -> Option<Arc<Entry>> {
    registry.lookup(&service()).await.unwrap().get(&id()).cloned()
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_the_entry_for_as_long_as_it_lives() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let incarnation = entry(&registry).await.unwrap().incarnation();
    tokio::time::sleep(TTL * 20).await;
    let after = entry(&registry).await.unwrap();
    assert_eq!((after.incarnation(), after.created()), (incarnation, after.modified()));
    registrar.shutdown().await.unwrap();
    assert!(entry(&registry).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn it_registers_again_after_a_wipe_a_deletion_and_an_overwrite_within_one_heartbeat() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let incarnation = entry(&registry).await.unwrap().incarnation();
    let foreign = instance().to_builder().weight(1).build().unwrap();
    for trouble in ["wipe", "deletion", "overwrite"] {
        let controls = registry.controls();
        match trouble {
            "wipe" => controls.wipe(),
            "deletion" => assert!(controls.delete(&service(), &id())),
            _ => controls.overwrite(&foreign),
        }
        let service = service();
        let back = registry.wait_until(&service, TTL / 3 + Duration::from_millis(1), |snapshot| {
            snapshot.get(&id()).is_some_and(|entry| *entry.instance() == instance())
        });
        let back = back.await.unwrap_or_else(|error| panic!("{trouble}: {error}"));
        assert_eq!(back.get(&id()).unwrap().incarnation(), incarnation, "{trouble}");
    }
    registrar.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_ttl_is_shown_and_healed() {
    let registry = MemoryRegistry::new();
    let client = registry.client();
    let registrar = start(&client).await;
    client.controls().outage();
    state(&registrar, "recovering").await;
    registry.wait_until(&service(), SOON, |snapshot| snapshot.is_empty()).await.unwrap();
    client.controls().heal();
    let healed = Instant::now();
    state(&registrar, "registered").await;
    assert!(healed.elapsed() <= TTL, "back within a TTL: {:?}", healed.elapsed());
    assert!(entry(&registry).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn it_starts_while_the_registry_is_away_and_registers_when_it_comes() {
    let registry = MemoryRegistry::new();
    registry.controls().outage();
    let registrar = Registrar::start(Arc::new(registry.clone()), instance(), options());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(
        matches!(&*registrar.state(), RegistrarState::Starting { error: Some(error) } if error.kind() == ErrorKind::Unavailable)
    );
    registry.controls().heal();
    timeout(Duration::from_secs(2), registrar.registered()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_takes_over_and_the_old_one_is_fenced_within_a_heartbeat() {
    let registry = MemoryRegistry::new();
    let old = start(&registry).await;
    let new = start(&registry).await;
    let fenced = timeout(TTL / 3, state(&old, "fenced")).await.expect("within one heartbeat");
    assert!(
        matches!(&*fenced, RegistrarState::Fenced { error, .. } if error.kind() == ErrorKind::AlreadyRegistered)
    );
    let incarnation = entry(&registry).await.unwrap().incarnation();
    // The old one leaves: that must not touch the new one's entry.
    old.shutdown().await.unwrap();
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(entry(&registry).await.unwrap().incarnation(), incarnation);
    assert!(new.state().is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_fenced_one_may_return_when_the_id_is_free() {
    let registry = MemoryRegistry::new();
    let returning = options().with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let old = Registrar::start(Arc::new(registry.clone()), instance(), returning);
    old.registered().await.unwrap();
    let new = start(&registry).await;
    state(&old, "fenced").await;
    new.shutdown().await.unwrap();
    timeout(TTL * 2, state(&old, "registered")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_refuses_a_taken_id_when_told_to() {
    let registry = MemoryRegistry::new();
    let first = start(&registry).await;
    let second = Registrar::start(
        Arc::new(registry.clone()),
        instance(),
        options().with_on_conflict(OnConflict::Refuse),
    );
    assert_eq!(second.registered().await.unwrap_err().kind(), ErrorKind::AlreadyRegistered);
    assert!(first.state().is_registered());
}

#[tokio::test(start_paused = true)]
async fn an_update_is_published_in_place_and_kept_through_an_outage() {
    let registry = MemoryRegistry::new();
    let client = registry.client();
    let registrar = start(&client).await;
    let heavier = instance().to_builder().weight(7).build().unwrap();
    let revision = registrar.update(heavier.clone()).await.unwrap();
    assert_eq!(entry(&registry).await.unwrap().modified(), revision);

    client.controls().outage();
    let heaviest = instance().to_builder().weight(8).build().unwrap();
    let waiting = registrar.update(heaviest.clone());
    assert!(timeout(TTL * 3, waiting).await.is_err(), "waits while the registry is away");
    client.controls().heal();
    let published = |snapshot: &registry_core::Snapshot| {
        snapshot.get(&id()).is_some_and(|entry| *entry.instance() == heaviest)
    };
    registry.wait_until(&service(), SOON, published).await.unwrap();

    let other = Instance::builder("other").endpoint("10.0.0.7:8080").build().unwrap();
    assert_eq!(registrar.update(other).await.unwrap_err().field(), Some("service name"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_marks_waits_and_deregisters() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let begun = Instant::now();
    let drain = tokio::spawn(registrar.drain(Duration::from_secs(7)));
    let draining = |snapshot: &registry_core::Snapshot| {
        snapshot.get(&id()).is_some_and(|entry| entry.instance().status() == Status::Draining)
    };
    registry.wait_until(&service(), Duration::from_secs(1), draining).await.unwrap();
    registry.wait_until(&service(), SOON, |snapshot| snapshot.is_empty()).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 7, "stays listed through the grace, longer than its TTL");
    drain.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn pause_takes_it_off_and_resume_puts_it_back() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    registrar.pause().await.unwrap();
    assert!(entry(&registry).await.is_none());
    tokio::time::sleep(TTL * 3).await;
    assert!(entry(&registry).await.is_none());
    registrar.resume().await.unwrap();
    registry.wait_until(&service(), SOON, |snapshot| snapshot.len() == 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leaving_is_bounded_when_the_registry_is_gone() {
    for black_hole in [false, true] {
        for drain in [false, true] {
            let registry = MemoryRegistry::new();
            let registrar = start(&registry).await;
            if black_hole {
                registry.controls().black_hole();
            } else {
                registry.controls().outage();
            }
            let begun = Instant::now();
            let result = match drain {
                true => registrar.drain(Duration::from_secs(2)).await,
                false => registrar.shutdown().await,
            };
            assert!(matches!(result.unwrap_err().kind(), ErrorKind::Unavailable | ErrorKind::Timeout));
            let most = if drain { 7 } else { 5 };
            assert!(begun.elapsed() <= Duration::from_secs(most), "took {:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_registration_lost_its_answer_does_not_outlive_the_shutdown() {
    use registry_core::fault::{FaultPlan, Faults, Faulty};
    let registry = MemoryRegistry::new();
    let mut plan = FaultPlan::default();
    plan.lose_answer = 1.0;
    let faults = Faults::new(plan, 1);
    let faulty = Faulty::new(registry.clone(), faults.clone());
    let registrar = Registrar::start(Arc::new(faulty), instance(), options());
    registry.wait_until(&service(), SOON, |snapshot| snapshot.len() == 1).await.unwrap();
    assert!(!registrar.state().is_registered());
    faults.set_on(false);
    registrar.shutdown().await.unwrap();
    assert!(entry(&registry).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registrar_deregisters_in_the_background() {
    let registry = MemoryRegistry::new();
    drop(start(&registry).await);
    registry.wait_until(&service(), Duration::from_millis(1), |snapshot| snapshot.is_empty()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_is_asked_again_until_it_is_not() {
    let registry = MemoryRegistry::new();
    registry.controls().set_capacity(0);
    let registrar = Registrar::start(Arc::new(registry.clone()), instance(), options());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        matches!(&*registrar.state(), RegistrarState::Starting { error: Some(error) } if error.kind() == ErrorKind::StoreFull)
    );
    registry.controls().set_capacity(1);
    timeout(Duration::from_secs(2), registrar.registered()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_blocked_runtime_does_not_cost_the_lease_of_one_with_its_own_thread() {
    let registry = MemoryRegistry::new();
    let client = registry.clone();
    let ttl = Ttl::from_secs(1).unwrap();
    let options = RegistrarOptions::new().with_ttl(ttl);
    let connect = async move { Ok(Arc::new(client) as Arc<dyn Registry>) };
    let registrar = Registrar::start_on_thread(connect, instance(), options).unwrap();
    registrar.registered().await.unwrap();
    let beside = Instance::builder(service()).endpoint("10.0.0.8:8080").build().unwrap();
    let options = RegisterOptions::new().with_ttl(ttl);
    registry.register(&beside, &options).await.unwrap();
    // This runtime has one thread, and it is blocked: the thing itself.
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(ttl.get() * 2);
    let list = registry.lookup(&service()).await.unwrap();
    let ids: Vec<_> = list.iter().map(|entry| entry.id().as_str()).collect();
    assert_eq!(ids, ["10.0.0.7:8080"], "the one without heartbeats is gone, so time did pass");
    registrar.shutdown().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_registrars_and_directories_leave_nothing_behind() {
    let registry = MemoryRegistry::new();
    let metrics = tokio::runtime::Handle::current().metrics();
    let tasks = metrics.num_alive_tasks();
    let registered = AtomicUsize::new(0);
    for number in 0..1000 {
        let instance =
            Instance::builder(service()).id(format!("i{number}")).endpoint("10.0.0.7:8080").build().unwrap();
        let registrar = Registrar::start(Arc::new(registry.clone()), instance, options());
        let directory = Directory::new(Arc::new(registry.clone()));
        let view = directory.view(&service());
        if number % 2 == 0 {
            registrar.registered().await.unwrap();
            view.ready().await;
            registered.fetch_add(1, Ordering::Relaxed);
        }
        if number % 3 == 0 {
            registrar.abandon();
        }
    }
    let settled = async {
        while metrics.num_alive_tasks() > tasks || registry.controls().watchers() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, settled).await.expect("tasks and watchers are back where they were");
    assert_eq!(registered.into_inner(), 500);
}
