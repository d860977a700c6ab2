//! Of several that want one id, one has it.

use super::*;

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
