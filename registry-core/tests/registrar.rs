//! Keeping one registration true, whatever happens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
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
    // And a tick of the timer, which rounds up.
    let within = TTL / 3 + Duration::from_millis(1);
    let fenced = timeout(within, state(&old, "fenced")).await.expect("within one heartbeat");
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

fn weighing(weight: u32) -> Instance {
    instance().to_builder().weight(weight).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn of_changes_that_come_faster_than_they_are_published_only_the_newest_is_kept_and_published() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let before = entry(&registry).await.unwrap().modified();
    let kept = allocation_counter::measure(|| {
        for weight in 1..=10_000 {
            assert!(registrar.update(weighing(weight)).now_or_never().is_none());
        }
    });
    assert!(kept.bytes_current < 10_000, "{} bytes", kept.bytes_current);

    let other = Instance::builder(service()).endpoint("10.0.0.8:8080").build().unwrap();
    let (older, newest) = tokio::join!(registrar.update(weighing(1)), async {
        assert_eq!(registrar.update(other).await.unwrap_err().field(), Some("instance id"));
        registrar.update(weighing(2)).await
    });
    let after = entry(&registry).await.unwrap();
    assert_eq!(*after.instance(), weighing(2));
    assert_eq!((older.unwrap(), newest.unwrap()), (after.modified(), after.modified()));
    assert_eq!(after.modified().get(), before.get() + 1, "one change");
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_without_end_are_published_and_do_not_cost_the_lease() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let created = entry(&registry).await.unwrap().created();
    let began = Instant::now();
    while began.elapsed() < TTL * 3 {
        for weight in 1..=1_000 {
            let _ = registrar.update(weighing(weight)).now_or_never();
        }
        tokio::time::advance(TTL / 30).await;
        assert_eq!(entry(&registry).await.expect("it is registered").created(), created);
    }
    let last = weighing(1_000);
    let published = |snapshot: &registry_core::Snapshot| snapshot.instances().eq([&last]);
    registry.wait_until(&service(), SOON, published).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_comes_after_the_changes_that_came_before_it() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    assert!(registrar.update(weighing(7)).now_or_never().is_none());
    let _drain = tokio::spawn(registrar.drain(SOON));
    let wanted = weighing(7).with_status(Status::Draining);
    let published = |snapshot: &registry_core::Snapshot| snapshot.instances().eq([&wanted]);
    registry.wait_until(&service(), SOON / 2, published).await.unwrap();
}

#[test]
fn who_waits_for_a_change_is_told_when_nobody_publishes_it_any_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let registrar = runtime.block_on(async { Registrar::start(registry, instance(), options()) });
    let mut waiting = Box::pin(registrar.update(weighing(7)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(runtime);
    for ended in [waiting.now_or_never(), registrar.update(weighing(8)).now_or_never()] {
        assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
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

/// A registry that refuses one weight for good.
fn refusing(registry: &MemoryRegistry, weight: u32) -> Arc<dyn Registry> {
    Arc::new(Refusing { inner: registry.clone(), weight, registers: AtomicUsize::new(0) })
}

#[derive(Debug)]
struct Refusing {
    inner: MemoryRegistry,
    weight: u32,
    /// How often it was asked to register.
    registers: AtomicUsize,
}

impl Refusing {
    fn check(&self, instance: &Instance) -> registry_core::Result<()> {
        match instance.weight().get() == self.weight {
            true => Err(registry_core::Error::invalid("weight", "is not liked here")),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Registry for Refusing {
    async fn register(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> registry_core::Result<registry_core::Registration> {
        self.registers.fetch_add(1, Ordering::Relaxed);
        self.check(instance)?;
        self.inner.register(instance, options).await
    }

    async fn keepalive(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.keepalive(lease).await
    }

    async fn update(
        &self,
        lease: &registry_core::Lease,
        instance: &Instance,
    ) -> registry_core::Result<registry_core::Revision> {
        self.check(instance)?;
        self.inner.update(lease, instance).await
    }

    async fn deregister(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> registry_core::Result<registry_core::Snapshot> {
        self.inner.lookup(service).await
    }

    async fn services(&self, prefix: &str) -> registry_core::Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<registry_core::Cursor>) -> registry_core::Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> registry_core::Guarantees {
        self.inner.guarantees()
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_refused_is_told_and_does_not_come_back_after_a_wipe() {
    let registry = MemoryRegistry::new();
    let registrar = Registrar::start(refusing(&registry, 13), instance(), options());
    registrar.registered().await.unwrap();
    let bad = instance().to_builder().weight(13).build().unwrap();
    assert_eq!(registrar.update(bad).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    registry.controls().wipe();
    let back = registry.wait_until(&service(), TTL, |snapshot| snapshot.len() == 1).await;
    assert_eq!(back.unwrap().instances().next(), Some(&instance()));
    assert!(registrar.state().is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_first_registration_that_is_refused_for_good_closes_it() {
    let registry = MemoryRegistry::new();
    let bad = instance().to_builder().weight(13).build().unwrap();
    let registrar = Registrar::start(refusing(&registry, 13), bad, options());
    assert_eq!(registrar.registered().await.unwrap_err().field(), Some("weight"));
    assert_eq!(registrar.state().name(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_failed_is_made_good_and_leaving_does_not_forget_it() {
    let registry = MemoryRegistry::new();
    let options = || RegistrarOptions::new().with_ttl(Ttl::MAX);
    for resumes in [true, false] {
        let client = registry.client();
        let registrar = Registrar::start(Arc::new(client.clone()), instance(), options());
        registrar.registered().await.unwrap();
        client.controls().outage();
        assert!(registrar.pause().await.is_err());
        assert!(entry(&registry).await.is_some());
        if resumes {
            client.controls().heal();
            registry.wait_until(&service(), SOON, |snapshot| snapshot.is_empty()).await.unwrap();
            registrar.shutdown().await.unwrap();
        } else {
            assert!(registrar.shutdown().await.is_err(), "it is not known to be deregistered");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_the_id_only_once_it_is_free() {
    let registry = MemoryRegistry::new();
    let first = start(&registry).await;
    let standby =
        options().with_on_conflict(OnConflict::Refuse).with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let second = Registrar::start(Arc::new(registry.clone()), instance(), standby);
    assert!(second.registered().await.is_err());
    tokio::time::sleep(TTL * 20).await;
    assert!(first.state().is_registered());
    first.shutdown().await.unwrap();
    timeout(TTL * 2, state(&second, "registered")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_older_process_that_was_delayed_does_not_rob_the_newer() {
    let registry = MemoryRegistry::new();
    let late = registry.client();
    late.controls().outage();
    let claim = |at| {
        RegisterOptions::new()
            .with_ttl(Ttl::new(TTL).unwrap())
            .with_claim(registry_core::Incarnation::new(at))
    };
    let older = RegistrarOptions::new().with_register(claim(1_000));
    let older = Registrar::start(Arc::new(late.clone()), instance(), older);
    state(&older, "starting").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let newer = RegistrarOptions::new().with_register(claim(6_000));
    let newer = Registrar::start(Arc::new(registry.clone()), instance(), newer);
    newer.registered().await.unwrap();
    late.controls().heal();
    state(&older, "fenced").await;
    assert!(newer.state().is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_restart_whose_clock_went_back_waits_for_its_own_entry_at_most() {
    let registry = MemoryRegistry::new();
    let claim = |at| {
        RegisterOptions::new()
            .with_ttl(Ttl::new(TTL).unwrap())
            .with_claim(registry_core::Incarnation::new(at))
    };
    let before = RegistrarOptions::new().with_register(claim(9_000));
    let before = Registrar::start(Arc::new(registry.clone()), instance(), before);
    before.registered().await.unwrap();
    before.abandon();
    let client = registry.client();
    client.controls().outage();
    let after = RegistrarOptions::new().with_register(claim(1_000));
    let after = Registrar::start(Arc::new(client.clone()), instance(), after);
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.controls().heal();
    timeout(TTL * 2, after.registered()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_returning_one_whose_answer_was_lost_keeps_its_entry_alive() {
    use registry_core::fault::{FaultPlan, Faults, Faulty};
    let registry = MemoryRegistry::new();
    let mut plan = FaultPlan::default();
    plan.lose_answer = 1.0;
    let faults = Faults::new(plan, 1);
    faults.set_on(false);
    let returning = options().with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let old =
        Registrar::start(Arc::new(Faulty::new(registry.clone(), faults.clone())), instance(), returning);
    old.registered().await.unwrap();
    let new = start(&registry).await;
    state(&old, "fenced").await;
    faults.set_on(true);
    new.shutdown().await.unwrap();
    let back = registry.wait_until(&service(), TTL * 2, |snapshot| snapshot.len() == 1).await.unwrap();
    faults.set_on(false);
    tokio::time::sleep(TTL * 3).await;
    let still = registry.lookup(&service()).await.unwrap();
    assert_eq!(still.get(&id()).unwrap().created(), back.get(&id()).unwrap().created(), "it never expired");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_one_asks_about_once_in_a_ttl_also_after_an_outage() {
    let registry = MemoryRegistry::new();
    let client = registry.client();
    let counting = Arc::new(Refusing { inner: client.clone(), weight: 13, registers: AtomicUsize::new(0) });
    let returning = options().with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let old = Registrar::start(counting.clone(), instance(), returning);
    old.registered().await.unwrap();
    let _new = start(&registry).await;
    state(&old, "fenced").await;
    client.controls().outage();
    tokio::time::sleep(TTL * 3).await;
    client.controls().heal();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = counting.registers.load(Ordering::Relaxed);
    tokio::time::sleep(TTL * 30).await;
    let asked = counting.registers.load(Ordering::Relaxed) - before;
    assert!((25..=45).contains(&asked), "{asked} times in 30 TTLs");
}

#[tokio::test(start_paused = true)]
async fn who_was_never_registered_leaves_without_a_trace() {
    let registry = MemoryRegistry::new();
    let client = registry.client();
    client.controls().outage();
    let registrar = Registrar::start(Arc::new(client.clone()), instance(), options());
    let mut states = registrar.states();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = registry.lookup(&service()).await.unwrap().revision();
    client.controls().heal();
    registrar.shutdown().await.unwrap();
    assert_eq!(registry.lookup(&service()).await.unwrap().revision(), before);
    assert_eq!(states.changed().await.name(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_drain_keeps_its_grace_also_when_the_lease_is_lost_meanwhile() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let begun = Instant::now();
    let drain = tokio::spawn(registrar.drain(Duration::from_secs(30)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    registry.controls().wipe();
    let back = registry.wait_until(&service(), TTL, |snapshot| snapshot.len() == 1).await.unwrap();
    assert_eq!(back.get(&id()).unwrap().instance().status(), Status::Draining);
    drain.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn for_ever_is_a_time_like_any_other() {
    let registry = MemoryRegistry::new();
    let registrar = Registrar::start(
        Arc::new(registry.clone()),
        instance(),
        options().with_shutdown_timeout(Duration::MAX).with_operation_timeout(Duration::MAX),
    );
    registrar.registered().await.unwrap();
    let drain = tokio::spawn(registrar.drain(Duration::MAX));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(entry(&registry).await.unwrap().instance().status(), Status::Draining);
    drain.abort();
    registry.wait_until(&service(), Duration::MAX, |snapshot| snapshot.is_empty()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_one_is_closed_to_who_looks() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let mut states = registrar.states();
    registrar.abandon();
    let closed = async { while states.changed().await.name() != "closed" {} };
    timeout(SOON, closed).await.unwrap();
    assert_eq!(states.get().name(), "closed");
}

/// How many threads of registrars there are.
fn threads() -> usize {
    let comm = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.filter_map(comm).filter(|name| name.trim() == "no-runtime").count()
}

/// Polls until it is done, outside any runtime.
fn poll_by_hand<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

#[test]
fn one_with_its_own_thread_needs_no_runtime_and_leaves_no_thread() {
    let registry = MemoryRegistry::new();
    let client = registry.clone();
    let connect = async move { Ok(Arc::new(client) as Arc<dyn Registry>) };
    let options = || options().with_thread_name("no-runtime");
    let registrar = Registrar::start_on_thread(connect, instance(), options()).unwrap();
    let never = std::future::pending();
    let stuck = Registrar::start_on_thread(never, instance(), options()).unwrap();
    poll_by_hand(registrar.registered()).unwrap();
    assert_eq!(threads(), 2);
    drop(stuck);
    poll_by_hand(registrar.shutdown()).unwrap();
    // A thread that never ends makes this test never end.
    while threads() > 0 {
        std::thread::yield_now();
    }
}
