//! What is this backend's own: exact expiry, and the controls that tests of others rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::time::Duration;

use registry_core::{
    Change, DeleteCause, ErrorKind, Instance, RegisterOptions, Registration, Registry, ResetCause,
    ServiceName, Ttl, Watch, WatchEvent,
};
use registry_memory::{MemoryOptions, MemoryRegistry};
use tokio::time::{Instant, timeout};

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

async fn register(registry: &MemoryRegistry, id: &str, ttl: u64) -> Registration {
    let instance = Instance::builder(service()).id(id).endpoint("h:1").build().unwrap();
    let options = RegisterOptions::new().with_ttl(Ttl::from_secs(ttl).unwrap());
    registry.register(&instance, &options).await.unwrap()
}

async fn next(watch: &mut Watch) -> WatchEvent {
    timeout(Duration::from_secs(20), watch.next()).await.expect("an event").expect("never ends")
}

/// The next event that is news.
async fn news(watch: &mut Watch) -> WatchEvent {
    loop {
        match next(watch).await {
            WatchEvent::Progress { .. } => {}
            event => return event,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_falls_due_together_goes_in_one_revision_at_exactly_that_moment() {
    let registry = MemoryRegistry::new();
    let mut watch = registry.watch(&service(), None);
    for id in ["a", "b", "c"] {
        register(&registry, id, 4).await;
    }
    let begun = Instant::now();
    let gone = loop {
        if let WatchEvent::Changes(batch) = next(&mut watch).await
            && batch.changes.iter().all(|change| matches!(change, Change::Delete { .. }))
        {
            break batch;
        }
    };
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
    let causes: Vec<_> = gone
        .changes
        .iter()
        .map(|change| match change {
            Change::Delete { id, cause } => (id.as_str(), *cause),
            change => panic!("{change:?}"),
        })
        .collect();
    assert_eq!(
        causes,
        [("a", DeleteCause::Expired), ("b", DeleteCause::Expired), ("c", DeleteCause::Expired)]
    );
}

#[tokio::test(start_paused = true)]
async fn one_client_is_cut_off_and_another_is_not() {
    let registry = MemoryRegistry::new();
    let other = registry.client();
    registry.controls().outage();
    assert_eq!(registry.lookup(&service()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    register(&other, "a", 10).await;
    registry.controls().heal();
    assert_eq!(registry.lookup(&service()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_hangs_until_it_is_healed() {
    let registry = MemoryRegistry::new();
    registry.controls().black_hole();
    let lookup = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lookup(&service()).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!lookup.is_finished());
    registry.controls().heal();
    assert!(lookup.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn latency_delays_operations() {
    let registry = MemoryRegistry::new();
    registry.controls().set_latency(Duration::from_millis(70));
    let begun = Instant::now();
    registry.lookup(&service()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(70));
}

#[tokio::test(start_paused = true)]
async fn a_wipe_and_a_restore_reset_watches_with_their_causes_and_end_leases() {
    let registry = MemoryRegistry::new();
    let lease = register(&registry, "a", 60).await.lease;
    let backup = registry.controls().checkpoint();
    let late = register(&registry, "b", 60).await.lease;
    let mut watch = registry.watch(&service(), None);
    assert!(matches!(news(&mut watch).await, WatchEvent::Reset { cause: ResetCause::First, .. }));

    registry.controls().restore(&backup);
    match news(&mut watch).await {
        WatchEvent::Reset { snapshot, cause } => {
            assert_eq!((cause, snapshot.len()), (ResetCause::Diverged, 1))
        }
        event => panic!("{event:?}"),
    }
    for lost in [&lease, &late] {
        assert_eq!(registry.keepalive(lost).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    }

    registry.controls().wipe();
    match news(&mut watch).await {
        WatchEvent::Reset { snapshot, cause } => assert_eq!((cause, snapshot.len()), (ResetCause::Wiped, 0)),
        event => panic!("{event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_new_instances_and_keeps_the_old() {
    let registry = MemoryRegistry::with_options(MemoryOptions::default().with_capacity(1));
    let lease = register(&registry, "a", 10).await.lease;
    let second = Instance::builder(service()).id("b").endpoint("h:1").build().unwrap();
    let refused = registry.register(&second, &RegisterOptions::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreFull);
    registry.keepalive(&lease).await.unwrap();
    registry.deregister(&lease).await.unwrap();
    registry.register(&second, &RegisterOptions::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn services_that_come_and_go_do_not_pile_up_and_their_watches_stay_honest() {
    let registry = MemoryRegistry::new();
    let watched = register(&registry, "a", 10).await.lease;
    let cursor = registry.lookup(&service()).await.unwrap().cursor();
    registry.deregister(&watched).await.unwrap();
    for number in 0..3_000 {
        let instance = Instance::builder(format!("s{number}")).endpoint("h:1").build().unwrap();
        let lease = registry.register(&instance, &RegisterOptions::new()).await.unwrap().lease;
        registry.deregister(&lease).await.unwrap();
    }
    assert!(registry.services("").await.unwrap().is_empty());
    // The log of the service is gone with it: that a change was missed must be said.
    match next(&mut registry.watch(&service(), Some(cursor))).await {
        WatchEvent::Reset { snapshot, cause } => {
            assert_eq!((cause, snapshot.len()), (ResetCause::Compacted, 0))
        }
        event => panic!("{event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_open_feeds_is_told() {
    let registry = MemoryRegistry::new();
    let mut watches: Vec<_> = (0..10).map(|_| registry.watch(&service(), None)).collect();
    assert_eq!(registry.controls().watchers(), 0, "a watch does nothing until it is polled");
    for watch in &mut watches {
        next(watch).await;
    }
    assert_eq!(registry.controls().watchers(), 10);
    drop(watches);
    assert_eq!(registry.controls().watchers(), 0);
}

#[tokio::test(start_paused = true)]
async fn services_that_nobody_asks_about_do_not_fill_the_store() {
    let registry = MemoryRegistry::with_options(MemoryOptions::default().with_capacity(1));
    let brief = RegisterOptions::new().with_ttl(Ttl::MIN);
    for number in 0..50 {
        let instance = Instance::builder(format!("s{number}")).endpoint("h:1").build().unwrap();
        registry.register(&instance, &brief).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_an_idle_service_is_not_reset_by_the_churn_of_others() {
    let registry = MemoryRegistry::new();
    let mut watch = registry.watch(&service(), None);
    assert!(matches!(next(&mut watch).await, WatchEvent::Reset { cause: ResetCause::First, .. }));
    for number in 0..5_000 {
        let instance = Instance::builder(format!("s{number}")).endpoint("h:1").build().unwrap();
        let lease = registry.register(&instance, &RegisterOptions::new()).await.unwrap().lease;
        registry.deregister(&lease).await.unwrap();
    }
    for _ in 0..3 {
        assert!(matches!(next(&mut watch).await, WatchEvent::Progress { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_with_a_wipe_a_watch_converges_as_fast_as_claimed() {
    for seed in 0..50 {
        let registry = MemoryRegistry::with_options(MemoryOptions::default().with_seed(seed));
        let client = registry.client();
        let mut watch = client.watch(&service(), None);
        next(&mut watch).await;
        client.controls().outage();
        while !matches!(next(&mut watch).await, WatchEvent::Stale { .. }) {}
        registry.controls().wipe();
        let _ = timeout(Duration::from_millis(3_000 + seed * 37), watch.next()).await;
        client.controls().heal();
        let healed = Instant::now();
        while !matches!(next(&mut watch).await, WatchEvent::Reset { .. }) {}
        assert!(healed.elapsed() <= client.guarantees().convergence, "seed {seed}: {:?}", healed.elapsed());
    }
}
