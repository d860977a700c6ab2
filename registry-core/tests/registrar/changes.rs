//! What changes of an instance is published.

use super::*;

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
