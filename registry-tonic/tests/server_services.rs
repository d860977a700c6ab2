//! Several services on one server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::{
    Directory, Instance, RegisterOptions, RegistrarOptions, RegistrarState, Registry, RegistryExt,
    ServiceName, Snapshot, Status,
};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ServerError, ServerState};
use support::server::{Running, quick};
use support::{PATIENCE, SERVICE, service, settled, shared, within};
use tokio::sync::watch;
use tokio::time::Instant;

const ORDERS: &str = "order.rpc";

fn orders() -> ServiceName {
    ORDERS.parse().unwrap()
}

async fn only(registry: &MemoryRegistry, service: &ServiceName) -> Instance {
    let listed = registry.lookup(service).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.instances().next().unwrap().clone()
}

#[tokio::test]
async fn they_are_registered_at_one_address_and_leave_together() {
    let registry = MemoryRegistry::new();
    let builder = quick(shared(&registry)).also(ORDERS).version("1.2.3").zone("z1").weight(7);
    let running = Running::start(builder.metadata("commit", "8f3c1d")).await;
    running.registered().await;
    let states = running.handle.registrar_states();
    assert_eq!(states.iter().map(|(service, _)| service.as_str()).collect::<Vec<_>>(), [SERVICE, ORDERS]);
    assert!(states.iter().all(|(_, state)| state.is_registered()), "{states:?}");

    let local = running.handle.local_addr();
    for (service, shown) in [service(), orders()].iter().zip(running.handle.instances()) {
        let wanted =
            Instance::builder(service.as_str()).endpoint(local).version("1.2.3").zone("z1").weight(7);
        let wanted = wanted.metadata("commit", "8f3c1d").build().unwrap();
        assert_eq!(only(&registry, service).await, wanted);
        assert_eq!(*shown, wanted);
    }

    let handle = running.handle.clone();
    handle.shutdown();
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("all drain", handle.wait_until(draining)).await;
    running.ended().await.unwrap();
    for service in [service(), orders()] {
        assert!(registry.lookup(&service).await.unwrap().is_empty(), "{service}");
    }
    assert!(handle.registrar_states().iter().all(|(_, state)| state.name() == "closed"), "{handle:?}");
}

#[tokio::test]
async fn when_one_is_lost_it_leaves_the_others_and_ends_with_the_error() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry)).also(ORDERS).id("node-1")).await;
    running.registered().await;
    let other = Instance::builder(ORDERS).id("node-1").endpoint("127.0.0.1:1").build().unwrap();
    registry.register(&other, &RegisterOptions::new()).await.unwrap();

    let drained =
        |snapshot: &Snapshot| snapshot.instances().any(|instance| instance.status() == Status::Draining);
    registry.wait_until(&service(), PATIENCE, drained).await.unwrap();
    let handle = running.handle.clone();
    match running.ended().await.unwrap_err() {
        ServerError::Fenced { service, .. } => assert_eq!(service, orders()),
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.state(), ServerState::Ended);
    let names: Vec<_> = handle.registrar_states().iter().map(|(_, state)| state.name()).collect();
    assert_eq!(names, ["closed", "fenced"]);
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
    assert_eq!(only(&registry, &orders()).await, other);
}

#[tokio::test]
async fn many_take_no_longer_to_leave_than_one() {
    let registry = MemoryRegistry::new();
    let options = RegistrarOptions::new().with_shutdown_timeout(Duration::from_secs(1));
    let many = (0..20).fold(quick(shared(&registry)), |builder, n| builder.also(format!("s{n}.rpc")));
    let running = Running::start(many.registrar(options)).await;
    running.registered().await;
    // A client that stays, so that nothing is cut short.
    let channel = Channel::new(&Directory::new(shared(&registry)), &service());
    settled(&channel, 1).await;
    registry.controls().black_hole();
    let began = Instant::now();
    running.handle.shutdown();
    running.ended().await.unwrap();
    // One after the other, it would be 20 s.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn they_share_one_health() {
    let registry = MemoryRegistry::new();
    let (tell, told) = watch::channel(true);
    let running = Running::start(quick(shared(&registry)).also(ORDERS).health_check(told)).await;
    running.registered().await;
    for (healthy, status) in [(false, Status::Draining), (true, Status::Up)] {
        tell.send_replace(healthy);
        for service in [service(), orders()] {
            let wanted =
                |snapshot: &Snapshot| snapshot.instances().all(|instance| instance.status() == status);
            registry.wait_until(&service, PATIENCE, wanted).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_service_that_is_bad_or_given_twice_is_refused() {
    let registry = MemoryRegistry::new();
    for (also, reason) in [(SERVICE, "twice"), ("a/b", "/")] {
        match quick(shared(&registry)).also(ORDERS).also(also).bind().await.unwrap_err() {
            ServerError::Invalid(error) => {
                assert_eq!(error.field(), Some("service name"));
                assert!(error.message().contains(reason), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
