//! Views that choose, over the in-memory registry: filter, zone, subset, debounce, and one watch for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Debounce, Difference, Directory, DirectoryOptions, ErrorKind, Filter, Freshness, Instance,
    InstanceBuilder, Lease, RegisterOptions, Registry, ServiceName, Status, Subset, Ttl, View, ViewOptions,
    Zone, ZonePreference,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(5);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::new(name).unwrap()
}

fn instance(id: &str, change: impl FnOnce(InstanceBuilder) -> InstanceBuilder) -> Instance {
    change(Instance::builder(service()).id(id).endpoint("10.0.0.1:80")).build().unwrap()
}

async fn register(registry: &MemoryRegistry, instance: &Instance) -> Lease {
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    registry.register(instance, &options).await.unwrap().lease
}

fn ids(view: &View) -> Vec<String> {
    view.load().entries().iter().map(|entry| entry.id().to_string()).collect()
}

async fn until(view: &View, expected: &[&str]) {
    let mut view = view.clone();
    let waiting = async {
        while view.load().snapshot().is_none() || ids(&view) != expected {
            assert!(view.changed().await);
        }
    };
    let waited = timeout(SOON, waiting).await;
    assert!(waited.is_ok(), "{expected:?} is not {:?}", ids(&view));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_ends_its_view_which_says_so_and_no_other() {
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let rule = |_: &Instance| panic!("a mistake, which this test makes");
    let view = directory.view_with(&service(), ViewOptions::new().with_filter(Filter::new().with_rule(rule)));
    let other = directory.view(&service());
    register(&registry, &instance("a", |builder| builder)).await;
    until(&other, &["a"]).await;
    let mut follower = view.clone();
    timeout(SOON, async { while follower.changed().await {} }).await.expect("it ends");
    let state = view.state();
    let Freshness::Stale { error, .. } = state.freshness() else { panic!("{state:?}") };
    assert_eq!(error.kind(), ErrorKind::Closed);
    register(&registry, &instance("b", |builder| builder)).await;
    until(&other, &["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_view_has_what_its_filter_accepts_as_instances_come_change_and_go() {
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let up = Filter::new().with_metadata("tier", "gold").with_status(Status::Up);
    let view = directory.view_with(&service(), ViewOptions::new().with_filter(up));
    until(&view, &[]).await;
    assert!(view.load().snapshot().is_some_and(|none| none.is_empty()), "that there is none is known");
    let gold = |builder: InstanceBuilder| builder.metadata("tier", "gold");
    let a = register(&registry, &instance("a", gold)).await;
    register(&registry, &instance("b", |builder| builder)).await;
    until(&view, &["a"]).await;
    let mut differences = view.differences();
    assert!(matches!(&differences.next().await.unwrap()[..], [Difference::Added(_)]));
    registry.update(&a, &instance("a", gold).with_status(Status::Draining)).await.unwrap();
    assert!(matches!(&differences.next().await.unwrap()[..], [Difference::Removed(_)]));
    registry.update(&a, &instance("a", gold)).await.unwrap();
    until(&view, &["a"]).await;
    registry.deregister(&a).await.unwrap();
    until(&view, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_goes_first_and_gives_way_to_all_when_it_has_nobody() {
    let registry = MemoryRegistry::new();
    let view = ViewOptions::new().with_zone(ZonePreference::new(zone("eu")));
    let options = DirectoryOptions::new().with_view(view);
    let directory = Directory::with_options(Arc::new(registry.clone()), options);
    let view = directory.view(&service());
    register(&registry, &instance("far", |builder| builder.zone("us"))).await;
    until(&view, &["far"]).await;
    let near = register(&registry, &instance("near", |builder| builder.zone("eu"))).await;
    until(&view, &["near"]).await;
    registry.deregister(&near).await.unwrap();
    until(&view, &["far"]).await;
}

#[tokio::test(start_paused = true)]
async fn views_with_options_share_one_watch_and_end_with_their_last_clone() {
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let subset = |client| ViewOptions::new().with_subset(Subset::new(3.try_into().unwrap(), client));
    let mut views: Vec<_> = (0..20).map(|client| directory.view_with(&service(), subset(client))).collect();
    views.push(directory.view(&service()));
    for view in &views {
        assert!(timeout(SOON, view.ready()).await.unwrap());
    }
    assert_eq!((registry.controls().watchers(), directory.watched(), directory.views().len()), (1, 1, 1));
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 21);
    drop(views);
    assert_eq!((directory.watched(), directory.views().len()), (0, 0));
    let gone = async {
        while registry.controls().watchers() + tokio::runtime::Handle::current().metrics().num_alive_tasks()
            > 0
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_subset_follows_the_instances_and_loses_only_those_that_leave() {
    let registry = MemoryRegistry::new();
    let mut leases = Vec::new();
    for n in 0..200 {
        leases.push(register(&registry, &instance(&format!("i{n:03}"), |builder| builder)).await);
    }
    let directory = Directory::new(Arc::new(registry.clone()));
    let subset = Subset::new(20.try_into().unwrap(), 3).with_clients(100.try_into().unwrap());
    let view = directory.view_with(&service(), ViewOptions::new().with_subset(subset));
    view.ready().await;
    let mut before = ids(&view);
    assert!((5..40).contains(&before.len()), "{}", before.len());
    let all = directory.view(&service());
    for lease in leases.drain(..100) {
        let left = lease.id().to_string();
        registry.deregister(&lease).await.unwrap();
        let followed = async {
            // Published even when nothing was chosen that has left.
            while all.load().snapshot().unwrap().get(lease.id()).is_some()
                || view.load().cursor() != all.load().cursor()
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, followed).await.unwrap();
        let after = ids(&view);
        assert!(before.iter().all(|id| *id == left || after.contains(id)), "{left}: {before:?} {after:?}");
        assert!(!after.contains(&left));
        before = after;
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_gathered_until_it_is_quiet_and_never_longer_than_the_bound() {
    let ms = Duration::from_millis;
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let options = ViewOptions::new().with_debounce(Debounce::new(ms(100), ms(350)));
    let mut view = directory.view_with(&service(), options);
    until(&view, &[]).await;
    let first = register(&registry, &instance("first", |builder| builder)).await;
    let began = Instant::now();
    until(&view, &["first"]).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "the first one is worth no wait");
    view.changed().await;

    let began = Instant::now();
    register(&registry, &instance("a", |builder| builder)).await;
    until(&view, &["a", "first"]).await;
    assert_eq!(began.elapsed(), ms(100));

    let began = Instant::now();
    let churn = async {
        for n in 0..8 {
            register(&registry, &instance(&format!("n{n}"), |builder| builder)).await;
            tokio::time::sleep(ms(50)).await;
        }
    };
    let seen = async {
        view.changed().await;
        while view.load().entries().len() == 2 {
            view.changed().await;
        }
        (began.elapsed(), view.load().entries().len())
    };
    let ((), (after, listed)) = tokio::join!(churn, seen);
    assert_eq!(after, ms(350), "it was never quiet");
    assert!((9..=10).contains(&listed), "all that came until then: {listed}");

    // That the registry is away is told at once, with what is gathered still to come.
    let all = directory.view(&service());
    registry.deregister(&first).await.unwrap();
    while ids(&all).contains(&"first".to_owned()) {
        tokio::task::yield_now().await;
    }
    registry.controls().outage();
    let began = Instant::now();
    while matches!(view.load().freshness(), Freshness::Live { .. }) {
        assert!(timeout(SOON, view.changed()).await.unwrap());
    }
    assert!(began.elapsed() < ms(100) && ids(&view).contains(&"first".to_owned()));
    tokio::time::sleep(ms(101)).await;
    assert!(!ids(&view).contains(&"first".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_view_that_chooses_is_as_fresh_as_the_view_of_all() {
    let registry = MemoryRegistry::new();
    register(&registry, &instance("a", |builder| builder)).await;
    let directory = Directory::new(Arc::new(registry.clone()));
    let options = ViewOptions::new().with_subset(Subset::new(3.try_into().unwrap(), 0));
    let (view, all) = (directory.view_with(&service(), options), directory.view(&service()));
    until(&view, &["a"]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let proven = |view: &View| match view.load().freshness() {
        Freshness::Live { proven } => *proven,
        freshness => panic!("{freshness:?}"),
    };
    assert_eq!(proven(&view), proven(&all), "also when nothing changes");
    assert!(proven(&view).elapsed() < Duration::from_secs(4));
    registry.controls().outage();
    let mut stale = view.clone();
    while view.load().stale_for(Instant::now()).is_zero() {
        assert!(timeout(SOON, stale.changed()).await.unwrap());
    }
    assert_eq!(ids(&view), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn reading_a_view_that_chooses_allocates_nothing() {
    let registry = MemoryRegistry::new();
    for n in 0..100 {
        register(&registry, &instance(&format!("i{n}"), |builder| builder)).await;
    }
    let options = ViewOptions::new().with_filter(Filter::new().with_status(Status::Up));
    let view = Directory::new(Arc::new(registry)).view_with(&service(), options);
    view.ready().await;
    assert_eq!(view.load().entries().len(), 100);
    let allocations = allocation_counter::measure(|| {
        for _ in 0..1000 {
            assert!(view.load().entries().len() + view.load().held_len() == 100);
        }
    });
    assert_eq!(allocations.count_total, 0);
}
