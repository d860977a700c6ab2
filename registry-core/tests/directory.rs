//! Views: shared, wait-free, cheap to keep up to date, and gone when dropped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Difference, Directory, Freshness, Instance, Lease, RegisterOptions, Registry, ServiceName, Status, Ttl,
};
use registry_memory::MemoryRegistry;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance(port: u16) -> Instance {
    Instance::builder(service())
        .endpoint(format!("10.0.{}.{}:80", port / 250, port % 250 + 1))
        .build()
        .unwrap()
}

async fn register(registry: &MemoryRegistry, port: u16) -> Lease {
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    registry.register(&instance(port), &options).await.unwrap().lease
}

#[tokio::test(start_paused = true)]
async fn a_view_follows_the_registry() {
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let mut view = directory.view(&service());
    assert!(view.load().snapshot().is_none(), "not known is not the same as none");
    view.ready().await;
    assert!(view.load().snapshot().unwrap().is_empty());
    let mut differences = view.differences();
    assert_eq!(differences.next().await, Some(vec![]), "that the service is empty is news, once");

    let lease = register(&registry, 1).await;
    assert!(matches!(&differences.next().await.unwrap()[..], [Difference::Added(_)]));
    registry.update(&lease, &instance(1).with_status(Status::Draining)).await.unwrap();
    assert!(matches!(&differences.next().await.unwrap()[..], [Difference::Changed { .. }]));
    assert_eq!(view.load().entries()[0].instance().status(), Status::Draining);
    registry.deregister(&lease).await.unwrap();
    assert!(matches!(&differences.next().await.unwrap()[..], [Difference::Removed(_)]));
    assert!(view.changed().await);
    assert!(view.load().entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_the_list_and_tells_its_age() {
    let registry = MemoryRegistry::new();
    register(&registry, 1).await;
    let directory = Directory::new(Arc::new(registry.clone()));
    let mut view = directory.view(&service());
    view.ready().await;
    registry.controls().outage();
    while matches!(view.load().freshness(), Freshness::Live { .. }) {
        timeout(SOON, view.changed()).await.expect("the outage is told");
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(view.load().snapshot().unwrap().len(), 1);
    assert!(view.load().stale_for(tokio::time::Instant::now()) >= Duration::from_secs(60));
    registry.controls().heal();
    while !matches!(view.load().freshness(), Freshness::Live { .. }) {
        timeout(SOON, view.changed()).await.expect("the recovery is told");
    }
    assert_eq!(view.load().stale_for(tokio::time::Instant::now()), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_subscribers_cost_one_watch_and_all_are_told() {
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let mut views: Vec<_> = (0..1000).map(|_| directory.view(&service())).collect();
    for view in &mut views {
        view.ready().await;
        assert!(view.changed().await);
    }
    assert_eq!(registry.controls().watchers(), 1);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    register(&registry, 1).await;
    for view in &mut views {
        assert!(timeout(SOON, view.changed()).await.unwrap());
        assert_eq!(view.load().snapshot().unwrap().len(), 1);
    }
    assert_eq!(directory.watched(), 1);
    drop(views);
    assert_eq!(directory.watched(), 0);
    let gone = async {
        while registry.controls().watchers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("the watch ends with the last view");
}

#[tokio::test(start_paused = true)]
async fn a_view_outlives_its_directory() {
    let registry = MemoryRegistry::new();
    let mut view = Directory::new(Arc::new(registry.clone())).view(&service());
    view.ready().await;
    register(&registry, 1).await;
    while view.load().snapshot().unwrap().is_empty() {
        assert!(timeout(SOON, view.changed()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn reading_a_view_allocates_nothing() {
    let registry = MemoryRegistry::new();
    for port in 0..100 {
        register(&registry, port).await;
    }
    let view = Directory::new(Arc::new(registry)).view(&service());
    view.ready().await;
    // The first time in a thread, and in a version, something is set up.
    assert_eq!(view.load().entries().len(), 100);
    let mut seen = 0;
    let allocations = allocation_counter::measure(|| {
        for _ in 0..1000 {
            let state = view.load();
            seen += state.entries().len() + state.snapshot().map_or(0, |snapshot| snapshot.len());
        }
    });
    assert_eq!((allocations.count_total, seen), (0, 200_000));
}

#[tokio::test(start_paused = true)]
async fn one_change_among_ten_thousand_instances_copies_hardly_anything() {
    let cost = |instances: u16| async move {
        let registry = MemoryRegistry::new();
        for port in 0..instances {
            register(&registry, port).await;
        }
        let mut snapshot = registry.lookup(&service()).await.unwrap();
        let keep = snapshot.clone();
        let mut watch = registry.watch(&service(), Some(snapshot.cursor()));
        register(&registry, instances / 2).await;
        let batch = loop {
            if let Some(registry_core::WatchEvent::Changes(batch)) = watch.next().await {
                break batch;
            }
        };
        let allocated = allocation_counter::measure(|| assert!(snapshot.apply(&batch)));
        assert_eq!(keep.len(), snapshot.len());
        allocated.bytes_total
    };
    let (small, large) = (cost(100).await, cost(10_000).await);
    assert!(large < 10_000 * 8, "{large} bytes: the list was copied");
    assert!(large < 6 * small, "{small} bytes among 100, {large} among 10,000");
}

#[test]
fn a_view_whose_runtime_is_gone_says_so_and_is_replaced() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let registry = MemoryRegistry::new();
    let directory = Directory::new(Arc::new(registry.clone()));
    let first = runtime();
    let (old, unheard) = first.block_on(async {
        let view = directory.view(&service());
        assert!(view.ready().await);
        (view, directory.view(&ServiceName::new("other").unwrap()))
    });
    drop(first);
    assert!(matches!(old.load().freshness(), Freshness::Stale { .. }));
    let second = runtime();
    second.block_on(async {
        assert!(!unheard.ready().await, "it never will be");
        register(&registry, 1).await;
        let view = directory.view(&service());
        assert!(view.ready().await);
        assert_eq!(view.load().entries().len(), 1);
    });
}
