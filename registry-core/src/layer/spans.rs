//! What tracing is told.

use std::future::Future;
use std::pin::pin;

use futures_util::StreamExt;
use tracing::{Instrument, Level, Span, field};

use super::{Answer, Call, Layer};
use crate::error::{Operation, Result};
use crate::event::{ResetCause, WatchEvent};
use crate::name::ServiceName;
use crate::registry::Watch;

/// A tracing span for each operation, and an event for what a watch goes through.
///
/// The spans are `registry.register`, `registry.update` and `registry.deregister` at level INFO; `registry.keepalive`, `registry.lookup` and
/// `registry.services`, of which there are many, at DEBUG. What a backend logs while it works on an operation is within its span.
///
/// | field | value |
/// | --- | --- |
/// | `service`, `id` | whom it is about, where it is about one. Not OpenTelemetry's `service.name`: that is who traces. |
/// | `revision` | the revision that it made, or shows |
/// | `otel.kind` | `client` |
/// | `otel.status_code` | `OK` or `ERROR`; missing when the caller dropped the operation |
/// | `error.type` | the [kind](crate::ErrorKind::name) of its error, whose words are in an event at DEBUG |
///
/// Of a watch there are events and no span, since it never ends: `watch stale` (WARN), `watch live` and `watch reset` (INFO; the first one, and changes, at
/// DEBUG). Nothing tells tokens, credentials or metadata.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Spans;

impl Spans {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Layer for Spans {
    async fn around<T: Answer>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let mut answer = pin!(answer.instrument(span(call)));
        let result = answer.as_mut().await;
        end(answer.span(), &result);
        result
    }

    fn watch(&self, service: &ServiceName, watch: Watch) -> Watch {
        let service = service.clone();
        Watch::new(watch.inspect(move |event| tell(&service, event)))
    }
}

fn span(call: Call<'_>) -> Span {
    macro_rules! span {
        ($level:ident, $name:literal) => {
            tracing::span!(
                Level::$level,
                $name,
                service = call.service().map(field::display),
                id = call.id().map(field::display),
                revision = field::Empty,
                otel.kind = "client",
                otel.status_code = field::Empty,
                error.type = field::Empty,
            )
        };
    }
    match call.operation() {
        Operation::Register => span!(INFO, "registry.register"),
        Operation::Keepalive => span!(DEBUG, "registry.keepalive"),
        Operation::Update => span!(INFO, "registry.update"),
        Operation::Deregister => span!(INFO, "registry.deregister"),
        Operation::Lookup => span!(DEBUG, "registry.lookup"),
        Operation::Services => span!(DEBUG, "registry.services"),
        Operation::Parse | Operation::Connect | Operation::Watch => span!(DEBUG, "registry.other"),
    }
}

fn end<T: Answer>(span: &Span, result: &Result<T>) {
    match result {
        Ok(answer) => {
            if let Some(revision) = answer.revision() {
                span.record("revision", revision.get());
            }
            span.record("otel.status_code", "OK");
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR").record("error.type", error.kind().name());
            span.in_scope(|| tracing::debug!(%error, "failed"));
        }
    }
}

fn tell(service: &ServiceName, event: &WatchEvent) {
    match event {
        WatchEvent::Reset { snapshot, cause } => {
            let (revision, instances, skipped) =
                (snapshot.revision().get(), snapshot.len(), snapshot.skipped());
            if *cause == ResetCause::First {
                tracing::debug!(%service, revision, instances, skipped, %cause, "watch reset");
            } else {
                tracing::info!(%service, revision, instances, skipped, %cause, "watch reset");
            }
        }
        WatchEvent::Changes(batch) => {
            let (revision, changes) = (batch.cursor.revision().get(), batch.changes.len());
            tracing::debug!(%service, revision, changes, "watch changed");
        }
        WatchEvent::Stale { since, error } => {
            let for_ms = since.elapsed().as_millis() as u64;
            tracing::warn!(%service, for_ms, %error, "watch stale");
        }
        WatchEvent::Live { cursor } => {
            tracing::info!(%service, revision = cursor.revision().get(), "watch live");
        }
        WatchEvent::Progress { .. } => {}
    }
}
