//! Metrics of operations.

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use tokio::time::Instant;

use super::super::Answer;
use super::names::{MALFORMED, OPERATION_SECONDS, OPERATIONS, OPERATIONS_IN_FLIGHT};
use super::with_registry;
use crate::error::{Operation, Result};

/// What a registry is asked, and answers.
const ASKED: [Operation; 6] = [
    Operation::Register,
    Operation::Keepalive,
    Operation::Update,
    Operation::Deregister,
    Operation::Lookup,
    Operation::Services,
];

pub(super) struct Operations {
    each: [Handles; ASKED.len()],
    malformed: Counter,
}

/// Looked up once. The counters of failures are looked up when one happens.
struct Handles {
    ok: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl Operations {
    pub(super) fn new(registry: &Option<SharedString>) -> Self {
        let handles = |operation| {
            let labels = with_registry(registry, [of(operation)]);
            Handles {
                ok: outcome(operation, "ok", registry),
                seconds: histogram!(OPERATION_SECONDS, labels.clone()),
                in_flight: gauge!(OPERATIONS_IN_FLIGHT, labels),
            }
        };
        Self { each: ASKED.map(handles), malformed: counter!(MALFORMED, with_registry(registry, [])) }
    }

    /// An operation begins. Dropping what is returned says that the caller gave up.
    pub(super) fn start<'a>(
        &'a self,
        operation: Operation,
        registry: &'a Option<SharedString>,
    ) -> Started<'a> {
        let at = ASKED.iter().position(|asked| *asked == operation);
        let handles = at.and_then(|at| self.each.get(at));
        handles.inspect(|handles| handles.in_flight.increment(1.0));
        Started {
            handles,
            malformed: &self.malformed,
            operation,
            registry,
            at: Instant::now(),
            outcome: "dropped",
        }
    }
}

pub(super) struct Started<'a> {
    handles: Option<&'a Handles>,
    malformed: &'a Counter,
    operation: Operation,
    registry: &'a Option<SharedString>,
    at: Instant,
    outcome: &'static str,
}

impl Started<'_> {
    pub(super) fn end<T: Answer>(mut self, result: &Result<T>) {
        self.handles.inspect(|handles| handles.seconds.record(self.at.elapsed()));
        self.outcome = match result {
            Ok(_) => "ok",
            Err(error) => error.kind().name(),
        };
        let skipped =
            result.as_ref().ok().and_then(Answer::snapshot).map_or(0, |snapshot| snapshot.skipped());
        self.malformed.increment(skipped as u64);
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let Some(handles) = self.handles else { return };
        handles.in_flight.decrement(1.0);
        match self.outcome {
            "ok" => handles.ok.increment(1),
            other => outcome(self.operation, other, self.registry).increment(1),
        }
    }
}

fn of(operation: Operation) -> (&'static str, SharedString) {
    ("operation", operation.name().into())
}

fn outcome(operation: Operation, outcome: &'static str, registry: &Option<SharedString>) -> Counter {
    counter!(OPERATIONS, with_registry(registry, [of(operation), ("outcome", outcome.into())]))
}
