//! What is told of a call to who traces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::Directory;
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, Retry};
use support::listed::{Moody, bare, instance_at, list};
use support::{call, eventually, service, settled, shared};
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Subscriber, with_default};
use tracing::{Event, Metadata};

type Fields = BTreeMap<String, String>;

/// Keeps the fields of spans that are named `grpc.call`.
#[derive(Clone, Default)]
struct Spans {
    next: Arc<AtomicU64>,
    calls: Arc<Mutex<BTreeMap<u64, Fields>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
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

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The spans of what `play` does, on a runtime of one thread.
fn spans_of<F: Future<Output = ()>>(play: impl FnOnce() -> F) -> Vec<Fields> {
    let spans = Spans::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    with_default(spans.clone(), || runtime.block_on(play()));
    let calls = spans.calls.lock().unwrap();
    calls.values().cloned().collect()
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
