//! A subscriber whose spans and events a test can read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default, with_default};
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

/// Plays on a runtime of one thread whose clock is paused, with a subscriber that only this thread tells.
pub(crate) fn told<F: Future<Output = ()>>(play: impl FnOnce(Told) -> F) -> Told {
    nobody_is_deaf();
    let told = Told::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_default(told.clone(), || runtime.block_on(play(told.clone())));
    told
}

/// To be called before anything is traced, also by tests that are told nothing. `tracing` asks once whether anybody wants what is told at a place
/// in the code, and as long as there is but one subscriber it asks that of the thread that comes there first: without this, a test that has none
/// would make another's deaf.
pub(crate) fn nobody_is_deaf() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_global_default(Ask).expect("the only one"));
}

/// Takes nothing, and wants to be asked again each time.
struct Ask;

impl Subscriber for Ask {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
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
