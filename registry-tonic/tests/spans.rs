//! What is told to who traces, of calls and of ejections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::Directory;
use registry_memory::MemoryRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_tonic::{Channel, Ejection, Retry};
use support::listed::{Moody, bare, instance_at, list};
use support::{PATIENCE, call, eventually, service, settled, shared};
use tokio::time::Instant;
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Subscriber, with_default};
use tracing::{Event, Level, Metadata};

type Fields = BTreeMap<String, String>;

/// An event, and the span in which it is.
type Told = (Option<u64>, Fields);

/// Keeps the fields of spans that are named `grpc.call`, of warnings, and of what is told of calls.
#[derive(Clone, Default)]
struct Spans {
    next: Arc<AtomicU64>,
    calls: Arc<Mutex<BTreeMap<u64, Fields>>>,
    warnings: Arc<Mutex<Vec<Fields>>>,
    told: Arc<Mutex<Vec<Told>>>,
    /// Of the one thread.
    within: Arc<Mutex<Vec<u64>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What is told of calls is no less important than their spans.
        metadata.is_span() || *metadata.level() <= Level::INFO
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        if span.metadata().name() == "grpc.call" {
            let mut fields = Fields::new();
            span.record(&mut Into(&mut fields));
            self.calls.lock().unwrap().insert(id, fields);
        }
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(fields) = self.calls.lock().unwrap().get_mut(&span.into_u64()) {
            values.record(&mut Into(fields));
        }
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        if *event.metadata().level() == Level::WARN {
            self.warnings.lock().unwrap().push(fields);
        } else {
            let within = self.within.lock().unwrap().last().copied();
            self.told.lock().unwrap().push((within, fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        self.within.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.within.lock().unwrap().pop();
    }
}

/// What is told of what `play` does, on a runtime of one thread.
fn told_of<F: Future<Output = ()>>(play: impl FnOnce() -> F) -> Spans {
    let spans = Spans::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    with_default(spans.clone(), || runtime.block_on(play()));
    spans
}

fn spans_of<F: Future<Output = ()>>(play: impl FnOnce() -> F) -> Vec<Fields> {
    told_of(play).calls.lock().unwrap().values().cloned().collect()
}

fn channel(registry: &MemoryRegistry, retry: Option<Retry>) -> Channel {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_millis(100)).ejection(None).retry(retry).build()
}

#[test]
fn a_call_is_a_span_with_service_method_peer_attempt_and_code() {
    let mut peer = String::new();
    let spans = spans_of(async || {
        let registry = MemoryRegistry::new();
        let (at, _, _task) = bare("a").await;
        peer = at.to_string();
        list(&registry, instance_at(at)).await;
        let channel = channel(&registry, None);
        settled(&channel, 1).await;
        call(&channel, 0).await.unwrap();
    });
    assert_eq!(spans.len(), 1, "{spans:?}");
    let field = |name: &str| spans[0].get(name).map(String::as_str);
    assert_eq!((field("service"), field("attempt"), field("code")), (Some("echo.rpc"), Some("1"), Some("0")));
    assert_eq!(field("peer"), Some(peer.as_str()));
    assert!(field("method").is_some_and(|method| method.ends_with("/Call")), "{spans:?}");
}

#[test]
fn an_attempt_that_failed_and_a_call_that_found_nobody_show_in_their_spans() {
    let spans = spans_of(async || {
        let registry = MemoryRegistry::new();
        let empty = channel(&registry, None);
        call(&empty, 0).await.unwrap_err();
        let moody = Moody::new("moody");
        let (at, _task) = moody.serve();
        moody.answer(Code::Unavailable);
        list(&registry, instance_at(at)).await;
        let channel = channel(&registry, Some(Retry::default().with_attempts(2)));
        settled(&channel, 1).await;
        call(&channel, 0).await.unwrap_err();
        eventually("both attempts are counted", || channel.endpoints()[0].errors == 2).await;
    });
    let shown: Vec<_> = spans.iter().map(|span| (span.get("attempt"), span.get("code"))).collect();
    let text = |text: &str| Some(text.to_owned());
    let shown: Vec<_> = shown.into_iter().map(|(attempt, code)| (attempt.cloned(), code.cloned())).collect();
    assert_eq!(shown, [(None, text("14")), (text("2"), text("14"))], "{spans:?}");
}

#[test]
fn each_attempt_that_is_not_the_last_is_told_in_the_span_of_its_call_with_its_peer_and_code() {
    let mut peers = Vec::new();
    let told = told_of(async || {
        let registry = MemoryRegistry::new();
        let moody = [Moody::new("a"), Moody::new("b"), Moody::new("c")];
        let mut tasks = Vec::new();
        for moody in &moody {
            moody.answer(Code::Unavailable);
            let (at, task) = moody.serve();
            list(&registry, instance_at(at)).await;
            peers.push(at.to_string());
            tasks.push(task);
        }
        let channel = channel(&registry, Some(Retry::default().with_attempts(3)));
        settled(&channel, 3).await;
        call(&channel, 0).await.unwrap_err();
    });
    let (calls, told) = (told.calls.lock().unwrap(), told.told.lock().unwrap());
    let (span, last) = calls.iter().next().expect("a call");
    let field = |of: &Fields, name: &str| of.get(name).cloned().unwrap_or_default();
    let again: Vec<_> = told.iter().filter(|(_, of)| field(of, "message") == "sent again").collect();
    assert_eq!(again.len(), 2, "{told:?}");
    for ((within, of), attempt) in again.iter().zip(["1", "2"]) {
        assert_eq!(*within, Some(*span), "{of:?}");
        assert_eq!(
            (field(of, "attempt"), field(of, "code")),
            (attempt.to_owned(), "14".to_owned()),
            "{of:?}"
        );
    }
    let mut tried: Vec<_> = again.iter().map(|(_, of)| field(of, "peer")).collect();
    tried.push(field(last, "peer"));
    tried.sort_unstable();
    peers.sort_unstable();
    assert_eq!(tried, peers, "each was tried once");
}

#[test]
fn each_ejection_is_a_warning_with_the_instance_its_endpoint_and_the_reason() {
    let mut at = String::new();
    let told = told_of(async || {
        let registry = MemoryRegistry::new();
        let (bad, good) = (Moody::new("bad"), Moody::new("good"));
        bad.answer(Code::Unavailable);
        let (bad, good) = (bad.serve(), good.serve());
        list(&registry, instance_at(bad.0).id("bad")).await;
        list(&registry, instance_at(good.0)).await;
        at = bad.0.to_string();
        let view = Directory::new(shared(&registry)).view(&service());
        let channel = Channel::builder(view).ejection(Ejection::default().with_after(2)).build();
        settled(&channel, 2).await;
        let ejections = || channel.endpoints().iter().map(|endpoint| endpoint.ejections).sum::<u64>();
        // The second time after a back-off of a second.
        for wanted in [1, 2] {
            let deadline = Instant::now() + PATIENCE;
            while ejections() < wanted {
                assert!(Instant::now() < deadline, "never ejected: {channel:?}");
                let _ = call(&channel, 1).await;
            }
        }
    });
    let warnings = told.warnings.lock().unwrap();
    let field = |of: &Fields, name: &str| of.get(name).cloned().unwrap_or_default();
    let ejections: Vec<_> = warnings.iter().filter(|of| field(of, "message") == "ejected").collect();
    assert_eq!(ejections.len(), 2, "{warnings:?}");
    for of in ejections {
        assert_eq!((field(of, "id"), field(of, "endpoint")), ("bad".to_owned(), at.clone()), "{of:?}");
        assert!(field(of, "reason").starts_with("2 calls failed in a row"), "{of:?}");
    }
}

#[test]
fn a_black_hole_is_told_as_an_ejection_as_well() {
    let mut at = String::new();
    let told = told_of(async || {
        let registry = MemoryRegistry::new();
        let (address, _, _task) = bare("a").await;
        let proxy = Proxy::start(address).unwrap();
        list(&registry, instance_at(proxy.address()).id("swallowed")).await;
        at = proxy.address().to_string();
        let view = Directory::new(shared(&registry)).view(&service());
        let limit = Duration::from_millis(200);
        let channel = Channel::builder(view).silent_after(limit).connect_timeout(limit).build();
        settled(&channel, 1).await;
        call(&channel, 0).await.unwrap();
        proxy.set(Faults::black_hole()).await;
        let swallowed = channel.clone();
        let call = tokio::spawn(async move { call(&swallowed, 0).await });
        eventually("it is out", || channel.endpoints()[0].ejections == 1).await;
        call.abort();
    });
    let warnings = told.warnings.lock().unwrap();
    let field = |of: &Fields, name: &str| of.get(name).cloned().unwrap_or_default();
    let ejections: Vec<_> = warnings.iter().filter(|of| field(of, "message") == "ejected").collect();
    assert_eq!(ejections.len(), 1, "{warnings:?}");
    let of = ejections[0];
    assert_eq!((field(of, "id"), field(of, "endpoint")), ("swallowed".to_owned(), at), "{of:?}");
    assert!(field(of, "reason").starts_with("nothing was heard for 200ms"), "{of:?}");
}
