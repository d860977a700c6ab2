//! A guarded view, over the in-memory registry: what vanishes at once is held, visibly, for a while, and until it is released.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Difference, Directory, DirectoryOptions, Freshness, GuardOptions, HeldCause, Instance, Lease,
    RegisterOptions, Registrar, RegistrarOptions, Registry, ResetCause, ServiceName, Subset, Ttl, View,
    ViewOptions, Zone, ZonePreference,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, timeout};

const TTL: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(5);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance(port: u16) -> Instance {
    Instance::builder(service()).endpoint(format!("10.0.0.1:{port}")).build().unwrap()
}

fn guarded(registry: &MemoryRegistry) -> Directory {
    let options = DirectoryOptions::new().with_guard(GuardOptions::new());
    Directory::with_options(Arc::new(registry.clone()), options)
}

fn registrars(registry: &MemoryRegistry, count: u16) -> Vec<Registrar> {
    let start = |port| {
        let options = RegistrarOptions::new().with_ttl(Ttl::new(TTL).unwrap()).with_seed(u64::from(port));
        Registrar::start(Arc::new(registry.clone()), instance(port), options)
    };
    (1..=count).map(start).collect()
}

async fn lease(registry: &MemoryRegistry, port: u16) -> Lease {
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    registry.register(&instance(port), &options).await.unwrap().lease
}

/// Waits until the view lists as many, and holds as many.
async fn until(view: &View, listed: usize, held: usize) {
    let mut view = view.clone();
    let waiting = async {
        while (view.load().entries().len(), view.load().held_len()) != (listed, held) {
            assert!(view.changed().await);
        }
    };
    let waited = timeout(4 * TTL, waiting).await;
    assert!(waited.is_ok(), "{listed} listed and {held} held, not in {view:?}");
}

#[tokio::test(start_paused = true)]
async fn the_store_is_wiped_under_100_instances_and_a_guarded_view_never_loses_one() {
    let registry = MemoryRegistry::new();
    let registrars = registrars(&registry, 100);
    let (guarded, plain) = (guarded(&registry), Directory::new(Arc::new(registry.clone())));
    let (view, bare) = (guarded.view(&service()), plain.view(&service()));
    until(&view, 100, 0).await;
    until(&bare, 100, 0).await;
    let all: Vec<_> = view.load().entries().iter().map(|entry| entry.id().clone()).collect();
    let mut differences = view.differences();
    assert_eq!(differences.next().await.unwrap().len(), 100);

    registry.controls().wipe();
    until(&bare, 0, 0).await;
    assert_eq!(bare.load().resets(), (2, Some(ResetCause::Wiped)));
    until(&view, 100, 100).await;
    let back = async {
        loop {
            let gone = |difference: &Difference| matches!(difference, Difference::Removed(_));
            let lost: Vec<_> = differences.next().await.unwrap().into_iter().filter(gone).collect();
            assert!(lost.is_empty(), "living and lost: {lost:?}");
            let state = view.load();
            let listed: Vec<_> = state.entries().iter().map(|entry| entry.id().clone()).collect();
            assert_eq!(listed, all, "all are there at any time");
            if state.held_len() == 0 {
                return;
            }
        }
    };
    timeout(TTL, back).await.expect("within a few heartbeats all are back");
    until(&bare, 100, 0).await;
    assert_eq!(view.load().snapshot(), bare.load().snapshot());
    let stats = view.stats();
    assert_eq!((stats.holds_begun, stats.holds_ended, stats.holds_expired), (100, 100, 0));
    let stats = bare.stats();
    assert_eq!(
        (stats.holds_begun, stats.resets(ResetCause::First), stats.resets(ResetCause::Wiped)),
        (0, 1, 1)
    );
    drop(registrars);
}

#[tokio::test(start_paused = true)]
async fn wipe_upon_wipe_no_living_instance_is_lost_and_no_hold_is_left() {
    let registry = MemoryRegistry::new();
    let registrars = registrars(&registry, 100);
    let view = guarded(&registry).view(&service());
    until(&view, 100, 0).await;
    let mut differences = view.differences();
    differences.next().await.unwrap();
    let watched = tokio::spawn(async move {
        while let Some(differences) = differences.next().await {
            let lost = differences.iter().find(|difference| matches!(difference, Difference::Removed(_)));
            assert!(lost.is_none(), "{lost:?}");
        }
    });
    for wipe in 1..=20 {
        registry.controls().wipe();
        until(&view, 100, 100).await;
        // At times the next one comes before all are back.
        let wait = if wipe % 3 == 0 { Duration::from_secs(1) } else { TTL };
        tokio::time::sleep(wait).await;
        if wipe % 3 != 0 {
            until(&view, 100, 0).await;
        }
    }
    until(&view, 100, 0).await;
    let stats = view.stats();
    assert_eq!((stats.holds_begun, stats.holds_expired), (stats.holds_ended, 0));
    assert!(!watched.is_finished(), "nobody was lost");
    watched.abort();
    drop(registrars);
}

#[tokio::test(start_paused = true)]
async fn scale_to_zero_by_deregistering_is_seen_at_once() {
    let registry = MemoryRegistry::new();
    let registrars = registrars(&registry, 100);
    let view = guarded(&registry).view(&service());
    until(&view, 100, 0).await;
    let began = Instant::now();
    for registrar in registrars {
        registrar.shutdown().await.unwrap();
    }
    until(&view, 0, 0).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(view.stats().holds_begun, 0);
}

#[tokio::test(start_paused = true)]
async fn ninety_of_a_hundred_killed_are_held_then_gone_after_three_ttls() {
    let registry = MemoryRegistry::new();
    let mut registrars = registrars(&registry, 100);
    let view = guarded(&registry).view(&service());
    until(&view, 100, 0).await;
    let killed = Instant::now();
    registrars.drain(..90).for_each(Registrar::abandon);
    until(&view, 100, 90).await;
    assert!(killed.elapsed() <= TTL, "once their leases are over");
    let state = view.state();
    for (id, held) in state.held() {
        assert_eq!(held.cause(), HeldCause::Expired);
        assert!(held.until() - held.since() == 3 * TTL && state.snapshot().unwrap().get(id).is_some());
    }
    assert_eq!(state.held_of(instance(100).id()), None, "a living one is not");
    let last = state.held().map(|(_, held)| held.until()).max().unwrap();
    until(&view, 10, 0).await;
    assert_eq!(Instant::now(), last);
    assert!(killed.elapsed() <= 4 * TTL);
    assert_eq!((view.stats().holds_begun, view.stats().holds_expired), (90, 90));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_released_at_once_by_a_call_for_every_view() {
    let registry = MemoryRegistry::new();
    let mut registrars = registrars(&registry, 100);
    let directory = guarded(&registry);
    let view = directory.view(&service());
    let all = Subset::new(1000.try_into().unwrap(), 0);
    let part = directory.view_with(&service(), ViewOptions::new().with_subset(all));
    until(&view, 100, 0).await;
    registrars.drain(..90).for_each(Registrar::abandon);
    until(&view, 100, 90).await;
    until(&part, 100, 90).await;
    let asked = Instant::now();
    assert_eq!(part.release().await, 90);
    assert_eq!((view.load().entries().len(), view.load().held_len()), (10, 0));
    until(&part, 10, 0).await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(view.release().await, 0);
    assert_eq!((part.stats().holds_released, view.stats().holds_released), (90, 90));
    tokio::time::advance(4 * TTL).await;
    assert_eq!(view.load().entries().len(), 10, "nothing comes back");
    assert_eq!(Directory::new(Arc::new(registry)).view(&service()).release().await, 0, "without a guard");
}

#[tokio::test(start_paused = true)]
async fn views_show_what_is_held_among_what_they_choose() {
    let registry = MemoryRegistry::new();
    for port in 1..=10 {
        lease(&registry, port).await;
    }
    let directory = guarded(&registry);
    let even = registry_core::Filter::new().with_rule(|one| one.endpoint().port() % 2 == 0);
    let view = directory.view_with(&service(), ViewOptions::new().with_filter(even));
    until(&view, 5, 0).await;
    registry.controls().wipe();
    until(&view, 5, 5).await;
    lease(&registry, 3).await;
    lease(&registry, 4).await;
    until(&view, 5, 4).await;
    assert_eq!(view.load().held_of(instance(4).id()), None);
    assert!(view.load().held_of(instance(6).id()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_dies_gives_way_to_those_who_live_elsewhere_once_it_is_held() {
    let registry = MemoryRegistry::new();
    let zone = |name: &str| Zone::new(name).unwrap();
    let start = |port: u16| {
        let instance = Instance::builder(service()).endpoint(format!("10.0.0.1:{port}"));
        let instance = instance.zone(if port <= 51 { "eu" } else { "us" }).build().unwrap();
        let options = RegistrarOptions::new().with_ttl(Ttl::new(TTL).unwrap()).with_seed(u64::from(port));
        Registrar::start(Arc::new(registry.clone()), instance, options)
    };
    let mut registrars: Vec<_> = (1..=100).map(start).collect();
    let directory = guarded(&registry);
    let near = ViewOptions::new().with_zone(ZonePreference::new(zone("eu")));
    let (all, view) = (directory.view(&service()), directory.view_with(&service(), near));
    until(&all, 100, 0).await;
    until(&view, 51, 0).await;
    registrars.drain(..51).for_each(Registrar::abandon);
    until(&all, 100, 51).await;
    let died = Instant::now();
    until(&view, 100, 51).await;
    assert_eq!(died.elapsed(), Duration::ZERO, "the living are there at once, and those held beside them");
    let eu = |state: &registry_core::ViewState| {
        state.entries().iter().filter(|entry| entry.instance().zone() == Some(&zone("eu"))).count()
    };
    assert_eq!(eu(&view.load()), 51);
    until(&view, 49, 0).await;
    registrars.push(start(1));
    until(&view, 1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_nothing_and_loses_nothing() {
    let registry = MemoryRegistry::new();
    for port in 1..=10 {
        lease(&registry, port).await;
    }
    let mut view = guarded(&registry).view(&service());
    until(&view, 10, 0).await;
    registry.controls().outage();
    while matches!(view.load().freshness(), Freshness::Live { .. }) {
        assert!(timeout(SOON, view.changed()).await.unwrap());
    }
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!((view.load().entries().len(), view.load().held_len()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn what_an_outage_ends_in_is_held_from_then_on() {
    let registry = MemoryRegistry::new();
    for port in 1..=10 {
        lease(&registry, port).await;
    }
    let view = guarded(&registry).view(&service());
    until(&view, 10, 0).await;
    registry.controls().outage();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    registry.controls().wipe();
    let healed = Instant::now();
    registry.controls().heal();
    until(&view, 10, 10).await;
    let state = view.state();
    let (_, held) = state.held().next().unwrap();
    assert!(held.since() >= healed && held.cause() == HeldCause::Reset(ResetCause::Wiped));
    until(&view, 0, 0).await;
}
