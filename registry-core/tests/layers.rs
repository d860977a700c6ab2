//! Layers: they stack, keep the registry's answers, tell what happened, and cost little.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/spans.rs"]
mod spans;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use registry_core::layer::Timeouts;
use registry_core::{
    ErrorKind, Instance, Operation, OwnerToken, RegisterOptions, Registry, RegistryExt, ResetCause, Retry,
    ServiceName, WatchEvent,
};
use registry_memory::MemoryRegistry;
use spans::{nobody_is_deaf, told};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(30);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance() -> Instance {
    let instance = Instance::builder(service()).endpoint("10.0.0.7:80").metadata("password", "hunter2");
    instance.build().unwrap()
}

fn options() -> RegisterOptions {
    RegisterOptions::new().with_token(OwnerToken::from_u128(0xdead_beef_dead_beef))
}

#[tokio::test(start_paused = true)]
async fn each_operation_has_its_deadline_and_says_what_may_have_happened() {
    let memory = MemoryRegistry::new();
    let lease = memory.register(&instance(), &options()).await.unwrap().lease;
    let mut timeouts = Timeouts::default();
    let asked = [
        (Operation::Register, "may be listed for one TTL"),
        (Operation::Keepalive, "may have been renewed"),
        (Operation::Update, "may have happened"),
        (Operation::Deregister, "may be gone"),
        (Operation::Lookup, "no answer within"),
        (Operation::Services, "no answer within"),
    ];
    for ((operation, _), seconds) in asked.iter().zip(1..) {
        timeouts = timeouts.with(*operation, Duration::from_secs(seconds));
    }
    let registry = memory.clone().with_timeouts(timeouts);
    memory.controls().black_hole();
    for ((operation, words), seconds) in asked.into_iter().zip(1..) {
        let began = Instant::now();
        let error = match operation {
            Operation::Register => registry.register(&instance(), &options()).await.map(drop),
            Operation::Keepalive => registry.keepalive(&lease).await,
            Operation::Update => registry.update(&lease, &instance()).await.map(drop),
            Operation::Deregister => registry.deregister(&lease).await,
            Operation::Lookup => registry.lookup(&service()).await.map(drop),
            _ => registry.services("").await.map(drop),
        };
        let error = error.expect_err("nothing answers");
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, operation));
        assert_eq!(error.retry(), Retry::AfterBackoff);
        assert!(error.message().contains(words), "{error}");
        // The timer ticks in milliseconds.
        let late = began.elapsed() - Duration::from_secs(seconds);
        assert!(late <= Duration::from_millis(1), "{operation}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_in_time_is_passed_on_and_a_watch_has_no_deadline() {
    let memory = MemoryRegistry::new();
    let registry = memory.clone().with_timeouts(Timeouts::all(Duration::ZERO));
    let registration = registry.register(&instance(), &options()).await.unwrap();
    assert_eq!(registry.lookup(&service()).await.unwrap(), memory.lookup(&service()).await.unwrap());
    registry.register(&instance(), &options().with_token(OwnerToken::random())).await.unwrap();
    assert_eq!(registry.keepalive(&registration.lease).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(registry.guarantees(), memory.guarantees());

    let mut watch = registry.watch(&service(), None);
    assert!(matches!(watch.next().await, Some(WatchEvent::Reset { .. })));
    tokio::time::advance(Duration::from_secs(3600)).await;
    memory.deregister(&memory.register(&instance(), &options()).await.unwrap().lease).await.unwrap();
    let changes = async { while !matches!(watch.next().await, Some(WatchEvent::Changes(_))) {} };
    timeout(SOON, changes).await.expect("it goes on");
}

#[test]
fn an_operation_is_a_span_with_whom_it_is_about_and_how_it_ended() {
    let told = told(async |_| {
        let registry: Arc<dyn Registry> = MemoryRegistry::new().shared().traced().shared();
        let registration = registry.register(&instance(), &options()).await.unwrap();
        registry.keepalive(&registration.lease).await.unwrap();
        registry.update(&registration.lease, &instance()).await.unwrap();
        registry.lookup(&service()).await.unwrap();
        registry.services("").await.unwrap();
        registry.deregister(&registration.lease).await.unwrap();
        registry.keepalive(&registration.lease).await.unwrap_err();
    });
    let one = |name: &str| told.spans(name).first().cloned().unwrap_or_else(|| panic!("{name}: {told:?}"));
    for (name, level) in [
        ("registry.register", "INFO"),
        ("registry.keepalive", "DEBUG"),
        ("registry.update", "INFO"),
        ("registry.deregister", "INFO"),
        ("registry.lookup", "DEBUG"),
        ("registry.services", "DEBUG"),
    ] {
        let span = one(name);
        let field = |name: &str| span.get(name).map(String::as_str);
        assert_eq!((field("level"), field("otel.kind")), (Some(level), Some("client")));
        assert_eq!((field("otel.status_code"), field("error.type")), (Some("OK"), None), "{name}");
        assert_eq!(field("service"), (name != "registry.services").then_some("user.rpc"));
        let of_instance = !["registry.lookup", "registry.services"].contains(&name);
        assert_eq!(field("id"), of_instance.then_some("10.0.0.7:80"), "{name}");
    }
    assert_eq!(one("registry.register").get("revision").map(String::as_str), Some("1"));
    let lost = &told.spans("registry.keepalive")[1];
    assert_eq!(lost.get("otel.status_code").map(String::as_str), Some("ERROR"));
    assert_eq!(lost.get("error.type").map(String::as_str), Some("lease_lost"));
    assert_eq!(told.events("failed").len(), 1);
}

#[test]
fn a_dropped_operation_has_no_outcome() {
    let told = told(async |_| {
        let memory = MemoryRegistry::new();
        memory.controls().black_hole();
        assert!(memory.clone().traced().lookup(&service()).now_or_never().is_none());
    });
    let spans = told.spans("registry.lookup");
    assert!(spans.len() == 1 && !spans[0].contains_key("otel.status_code"), "{spans:?}");
}

#[test]
fn a_watch_tells_its_troubles_as_events() {
    let told = told(async |_| {
        let memory = MemoryRegistry::new();
        let mut watch = memory.clone().traced().watch(&service(), None);
        let mut until = async |wanted: fn(&WatchEvent) -> bool| {
            timeout(SOON, async { while !watch.next().await.is_some_and(|event| wanted(&event)) {} })
                .await
                .expect("it comes")
        };
        until(|event| matches!(event, WatchEvent::Reset { .. })).await;
        memory.register(&instance(), &options()).await.unwrap();
        until(|event| matches!(event, WatchEvent::Changes(_))).await;
        memory.controls().outage();
        until(|event| matches!(event, WatchEvent::Stale { .. })).await;
        memory.controls().wipe();
        memory.controls().heal();
        until(|event| matches!(event, WatchEvent::Reset { cause: ResetCause::Wiped, .. })).await;
        until(|event| matches!(event, WatchEvent::Live { .. } | WatchEvent::Progress { .. })).await;
    });
    let resets = told.events("watch reset");
    let causes: Vec<_> =
        resets.iter().map(|event| (event["level"].as_str(), event["cause"].as_str())).collect();
    assert_eq!(causes, [("DEBUG", "first"), ("INFO", "wiped")]);
    assert_eq!(told.events("watch changed").len(), 1);
    let stale = told.events("watch stale");
    assert!(stale.iter().all(|event| event["level"] == "WARN" && event.contains_key("error")));
    assert_eq!(stale.len(), 1, "{stale:?}");
}

#[test]
fn no_secret_is_told() {
    let told = told(async |_| {
        let registry = MemoryRegistry::new().traced();
        let mut watch = registry.watch(&service(), None);
        let lease = registry.register(&instance(), &options()).await.unwrap().lease;
        registry.update(&lease, &instance()).await.unwrap();
        for _ in 0..3 {
            timeout(SOON, watch.next()).await.unwrap();
        }
    });
    let everything = told.everything();
    assert!(everything.contains("user.rpc"), "{everything}");
    for secret in ["hunter2", "password", "deadbeef", &0xdead_beef_dead_beef_u128.to_string()] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
}

/// What a lookup allocates.
fn allocations(registry: &dyn Registry) -> u64 {
    let service = service();
    let lookup = || registry.lookup(&service).now_or_never().unwrap().unwrap();
    // The first time something is set up.
    lookup();
    allocation_counter::measure(|| drop(lookup())).count_total
}

#[tokio::test(start_paused = true)]
async fn a_layer_costs_an_operation_one_allocation() {
    nobody_is_deaf();
    let memory = MemoryRegistry::new();
    memory.register(&instance(), &options()).await.unwrap();
    let bare = allocations(&memory);
    let timeouts = memory.clone().with_timeouts(Timeouts::default());
    assert_eq!(allocations(&timeouts), bare + 1);
    assert_eq!(allocations(&memory.clone().traced()), bare + 1);
    assert_eq!(allocations(&timeouts.traced()), bare + 2);
    #[cfg(feature = "metrics")]
    assert_eq!(allocations(&memory.metered(&registry_core::layer::Meter::new())), bare + 1);
}
