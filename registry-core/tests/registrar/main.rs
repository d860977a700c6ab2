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

mod changes;
mod conflict;
mod leaving;
mod refusing;

use crate::refusing::{Refusing, refusing};

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

#[tokio::test(start_paused = true)]
async fn a_first_registration_that_is_refused_for_good_closes_it() {
    let registry = MemoryRegistry::new();
    let bad = instance().to_builder().weight(13).build().unwrap();
    let registrar = Registrar::start(refusing(&registry, 13), bad, options());
    assert_eq!(registrar.registered().await.unwrap_err().field(), Some("weight"));
    assert_eq!(registrar.state().name(), "closed");
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
