//! How it leaves: by a drain, a pause, an end, or without a word.

use super::*;

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
async fn an_abandoned_one_is_closed_to_who_looks() {
    let registry = MemoryRegistry::new();
    let registrar = start(&registry).await;
    let mut states = registrar.states();
    registrar.abandon();
    let closed = async { while states.changed().await.name() != "closed" {} };
    timeout(SOON, closed).await.unwrap();
    assert_eq!(states.get().name(), "closed");
}
