//! What a server says of its health, to who asks and to the registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::{
    Directory, Operation, RegisterOptions, RegistrarOptions, RegistrarState, Registry, RegistryExt, Snapshot,
    Status, Ttl, WhenFenced,
};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, HealthCheck, ServerError, ServerState};
use support::server::{HealthWatch, Hooked, Running, health_at, quick};
use support::{PATIENCE, Process, call, service, settled, shared, within};
use tokio::sync::watch;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, ServiceUnknown, Serving};

fn channel(registry: &MemoryRegistry) -> Channel {
    Channel::new(&Directory::new(shared(registry)), &service())
}

/// Waits until the first instance listed has this status.
async fn listed_as(registry: &MemoryRegistry, status: Status) {
    let wanted = |snapshot: &Snapshot| snapshot.instances().any(|instance| instance.status() == status);
    registry.wait_until(&service(), PATIENCE, wanted).await.unwrap();
}

fn is_unhealthy(state: &ServerState) -> bool {
    matches!(state, ServerState::Unhealthy { .. })
}

#[tokio::test]
async fn the_server_and_the_services_named_are_serving_and_no_others_are_known() {
    let builder = quick(shared(&MemoryRegistry::new())).health_of("echo.Echo");
    let running = Running::start(builder).await;
    running.registered().await;
    assert_eq!(running.health("").await, Ok(Serving));
    assert_eq!(running.health("echo.Echo").await, Ok(Serving));
    assert_eq!(running.health("echo.Ech").await, Err(Code::NotFound));
    let mut unknown = HealthWatch::open(running.handle.local_addr(), "echo.Ech").await;
    assert_eq!(unknown.next().await, Some(ServiceUnknown));
}

#[tokio::test]
async fn it_says_not_serving_before_the_registry_is_told_anything() {
    let registry = MemoryRegistry::new();
    let address = Arc::new(Mutex::new(None));
    let said = Arc::new(Mutex::new(Vec::new()));
    let (at, seen) = (Arc::clone(&address), Arc::clone(&said));
    let hooked = Hooked::new(&registry, move |operation, _| {
        let (at, seen) = (*at.lock().unwrap(), Arc::clone(&seen));
        Box::pin(async move {
            if let (Some(at), Operation::Update | Operation::Deregister) = (at, operation) {
                let health = health_at(at, "").await;
                seen.lock().unwrap().push((operation, health.map_err(|status| status.code())));
            }
        })
    });
    let running = Running::start(quick(hooked).drain_grace(Duration::from_millis(500))).await;
    *address.lock().unwrap() = Some(running.handle.local_addr());
    running.registered().await;
    assert_eq!(running.health("").await, Ok(Serving));
    running.handle.shutdown();
    running.ended().await.unwrap();
    let expected = [(Operation::Update, Ok(NotServing)), (Operation::Deregister, Ok(NotServing))];
    assert_eq!(*said.lock().unwrap(), expected);
}

#[tokio::test]
async fn who_watches_its_health_sees_it_leave_and_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let running = Running::start(quick(shared(&registry))).await;
    running.registered().await;
    let mut watch = HealthWatch::open(running.handle.local_addr(), "").await;
    assert_eq!(watch.next().await, Some(Serving));
    running.handle.shutdown();
    assert_eq!(watch.next().await, Some(NotServing));
    // An error would say that a connection was left open.
    running.ended().await.unwrap();
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn who_watches_the_health_of_a_server_whose_future_was_dropped_is_told() {
    let server = quick(shared(&MemoryRegistry::new())).bind().await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(support::Named::new("a").router()));
    within("registered", handle.wait_until(RegistrarState::is_registered)).await;
    let mut watch = HealthWatch::open(handle.local_addr(), "").await;
    assert_eq!(watch.next().await, Some(Serving));
    serving.abort();
    assert_eq!(watch.next().await, Some(NotServing));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_registry_that_is_down_does_not_make_it_unhealthy() {
    let registry = MemoryRegistry::new();
    registry.controls().outage();
    let running = Running::start(quick(shared(&registry))).await;
    let failing = |state: &RegistrarState| matches!(state, RegistrarState::Starting { error: Some(_) });
    within("a failed attempt", running.handle.wait_until(failing)).await;
    assert_eq!(running.health("").await, Ok(Serving));
}

#[tokio::test]
async fn a_fenced_server_says_not_serving_and_ends() {
    let registry = MemoryRegistry::new();
    let old = Running::start(quick(shared(&registry)).id("node-1")).await;
    old.registered().await;
    let mut watch = HealthWatch::open(old.handle.local_addr(), "").await;
    assert_eq!(watch.next().await, Some(Serving));
    let new = Running::start(quick(shared(&registry)).id("node-1")).await;
    new.registered().await;
    assert_eq!(watch.next().await, Some(NotServing));
    let error = old.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Fenced { .. }), "{error:?}");
    assert_eq!(watch.next().await, None);
    assert_eq!(new.health("").await, Ok(Serving));
}

#[tokio::test]
async fn one_that_may_return_is_not_serving_while_it_is_fenced() {
    let registry = MemoryRegistry::new();
    let options = RegistrarOptions::new().with_ttl(Ttl::from_secs(1).unwrap());
    let options = options.with_when_fenced(WhenFenced::ReturnWhenAbsent);
    let running = Running::start(quick(shared(&registry)).registrar(options)).await;
    running.registered().await;
    let thief = registry.register(running.handle.instance(), &RegisterOptions::new()).await.unwrap();
    within("fenced", running.handle.wait_until_state(|state| *state == ServerState::Fenced)).await;
    assert_eq!(running.health("").await, Ok(NotServing));
    registry.deregister(&thief.lease).await.unwrap();
    within("serving", running.handle.wait_until_state(ServerState::is_serving)).await;
    assert_eq!(running.health("").await, Ok(Serving));
}

#[tokio::test]
async fn without_the_health_service_nobody_is_told() {
    let builder = quick(shared(&MemoryRegistry::new())).health_service(false);
    let running = Running::start(builder).await;
    running.registered().await;
    assert_eq!(running.health("").await, Err(Code::Unimplemented));
}

#[tokio::test]
async fn a_router_with_a_health_service_of_its_own_is_refused_unless_it_is_to_be_the_only_one() {
    let registry = MemoryRegistry::new();
    let router = || {
        let (_, health) = tonic_health::server::health_reporter();
        support::Named::new("a").router().add_service(health)
    };
    let server = quick(shared(&registry)).bind().await.unwrap();
    let handle = server.handle();
    match server.serve(router()).await.unwrap_err() {
        ServerError::Invalid(error) => {
            assert_eq!(error.field(), Some("router"));
            assert!(error.message().contains("grpc.health.v1.Health"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.state(), ServerState::Ended);

    let server = quick(shared(&registry)).health_service(false).bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(router()));
    within("registered", handle.wait_until(RegistrarState::is_registered)).await;
    assert_eq!(health_at(handle.local_addr(), "").await.unwrap(), Serving);
}

#[tokio::test]
async fn it_is_registered_only_once_it_is_healthy() {
    let registry = MemoryRegistry::new();
    let (tell, told) = watch::channel(false);
    let at_registration = Arc::new(Mutex::new(Vec::new()));
    let (seen, asked) = (Arc::clone(&at_registration), told.clone());
    let hooked = Hooked::new(&registry, move |operation, _| {
        if operation == Operation::Register {
            seen.lock().unwrap().push(*asked.borrow());
        }
        Box::pin(std::future::ready(()))
    });
    let running = Running::start(quick(hooked).health_check(told)).await;
    within("unhealthy", running.handle.wait_until_state(is_unhealthy)).await;
    assert_eq!(running.health("").await, Ok(NotServing));
    // It serves who knows where it is all the same.
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
    tell.send_replace(true);
    running.registered().await;
    assert_eq!(*at_registration.lock().unwrap(), [true]);
    assert_eq!(running.health("").await, Ok(Serving));
}

#[tokio::test]
async fn an_unhealthy_server_is_draining_until_it_is_healthy_again() {
    let registry = MemoryRegistry::new();
    let (tell, told) = watch::channel(true);
    let sick = Process::start_with(&registry, "sick", |builder| builder.health_check(told)).await;
    let _well = Process::start(&registry, "well").await;
    let channel = channel(&registry);
    settled(&channel, 2).await;

    tell.send_replace(false);
    listed_as(&registry, Status::Draining).await;
    assert_eq!(health_at(sick.handle.local_addr(), "").await.unwrap(), NotServing);
    let knows = channel.wait_until(PATIENCE, |endpoints| {
        endpoints.iter().any(|endpoint| endpoint.status == Status::Draining)
    });
    knows.await.unwrap();
    for _ in 0..50 {
        assert_eq!(call(&channel, 0).await.unwrap(), "well");
    }

    tell.send_replace(true);
    within("serving", sick.handle.wait_until_state(ServerState::is_serving)).await;
    let knows = channel
        .wait_until(PATIENCE, |endpoints| endpoints.iter().all(|endpoint| endpoint.status == Status::Up));
    knows.await.unwrap();
    let mut answered = BTreeSet::new();
    within("calls of both", async {
        while answered.len() < 2 {
            answered.insert(call(&channel, 0).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn while_nobody_is_healthy_calls_are_answered_all_the_same() {
    let registry = MemoryRegistry::new();
    let (tell, told) = watch::channel(true);
    let running = Running::start(quick(shared(&registry)).health_check(told)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    tell.send_replace(false);
    let knows = channel.wait_until(PATIENCE, |endpoints| endpoints[0].status == Status::Draining);
    knows.await.unwrap();
    assert_eq!(call(&channel, 0).await.unwrap(), "a");
    assert!(running.handle.registrar_state().is_registered());
}

#[tokio::test]
async fn what_became_of_its_health_while_the_registry_was_away_is_published_afterwards() {
    let registry = MemoryRegistry::new();
    let its_own = registry.client();
    let (tell, told) = watch::channel(true);
    let running = Running::start(quick(shared(&its_own)).health_check(told)).await;
    running.registered().await;
    its_own.controls().outage();
    for healthy in [false, true, false] {
        tell.send_replace(healthy);
        within("seen", running.handle.wait_until_state(|state| state.is_serving() == healthy)).await;
    }
    assert_eq!(running.health("").await, Ok(NotServing));
    its_own.controls().heal();
    listed_as(&registry, Status::Draining).await;
    tell.send_replace(true);
    listed_as(&registry, Status::Up).await;
}

#[tokio::test]
async fn a_check_that_hangs_drains_it_until_it_answers_again() {
    let registry = MemoryRegistry::new();
    let hangs = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&hangs);
    let check = HealthCheck::new(move || {
        let hangs = asked.load(Ordering::SeqCst);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::io::Error>(())
        }
    });
    let (interval, limit) = (Duration::from_millis(10), Duration::from_millis(100));
    let check = check.with_interval(interval).with_timeout(limit).with_failures(2);
    let running = Running::start(quick(shared(&registry)).health_check(check)).await;
    running.registered().await;
    hangs.store(true, Ordering::SeqCst);
    listed_as(&registry, Status::Draining).await;
    let state = running.handle.state();
    let expected = ServerState::Unhealthy { reason: "no answer of the health check within 100ms".into() };
    assert_eq!(state, expected);
    hangs.store(false, Ordering::SeqCst);
    listed_as(&registry, Status::Up).await;
    within("serving", running.handle.wait_until_state(ServerState::is_serving)).await;
}

#[tokio::test]
async fn an_unhealthy_server_stops_in_order() {
    let registry = MemoryRegistry::new();
    let (tell, told) = watch::channel(true);
    let running = Running::start(quick(shared(&registry)).health_check(told)).await;
    running.registered().await;
    tell.send_replace(false);
    listed_as(&registry, Status::Draining).await;
    running.handle.shutdown();
    running.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}
