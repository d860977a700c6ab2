//! A subscriber whose spans and events a test can read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

pub(crate) type Fields = BTreeMap<String, String>;

/// What was told, spans and events each in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    spans: Arc<Mutex<Vec<(&'static str, Fields)>>>,
    events: Arc<Mutex<Vec<Fields>>>,
}

#[allow(dead_code, reason = "not every test reads everything")]
impl Told {
    /// The fields of the spans called `name`.
    pub(crate) fn spans(&self, name: &str) -> Vec<Fields> {
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|(of, _)| *of == name).map(|(_, fields)| fields.clone()).collect()
    }

    /// The fields of the events with this message; `level` is one of them.
    pub(crate) fn events(&self, message: &str) -> Vec<Fields> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|fields| fields.get("message").is_some_and(|of| of == message))
            .cloned()
            .collect()
    }

    /// Everything, as text.
    pub(crate) fn everything(&self) -> String {
        format!("{:?} {:?}", self.spans.lock().unwrap(), self.events.lock().unwrap())
    }
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::from([("level".into(), span.metadata().level().to_string())]);
        span.record(&mut Into(&mut fields));
        let mut spans = self.spans.lock().unwrap();
        spans.push((span.metadata().name(), fields));
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        values.record(&mut Into(&mut spans[span.into_u64() as usize - 1].1));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::from([("level".into(), event.metadata().level().to_string())]);
        event.record(&mut Into(&mut fields));
        self.events.lock().unwrap().push(fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
