//! Metrics of a registrar: its state.

use metrics::{Counter, Gauge, counter, gauge};

use super::Meter;
use super::names::{REGISTRAR_TRANSITIONS, REGISTRARS};
use crate::name::ServiceName;
use crate::registrar::{RegistrarState, RegistrarStates};

/// The [names](RegistrarState::name) of all states.
const STATES: [&str; 7] = ["starting", "registered", "recovering", "fenced", "paused", "draining", "closed"];

pub(crate) struct RegistrarMetrics {
    each: [Handles; STATES.len()],
    present: Option<usize>,
}

struct Handles {
    name: &'static str,
    registrars: Gauge,
    transitions: Counter,
}

impl RegistrarMetrics {
    pub(crate) fn new(meter: &Meter, service: &ServiceName) -> Self {
        let handles = |name| {
            let labels = || meter.of_service_and(service, "state", name);
            Handles {
                name,
                registrars: gauge!(REGISTRARS, labels()),
                transitions: counter!(REGISTRAR_TRANSITIONS, labels()),
            }
        };
        Self { each: STATES.map(handles), present: None }
    }

    pub(super) async fn follow(mut self, mut states: RegistrarStates) {
        loop {
            let state = states.changed().await;
            self.show(&state);
            if matches!(*state, RegistrarState::Closed { .. }) {
                return;
            }
        }
    }

    pub(crate) fn show(&mut self, state: &RegistrarState) {
        let next = self.each.iter().position(|handles| handles.name == state.name());
        if next == self.present {
            return;
        }
        self.leave();
        self.present = next;
        if let Some(entered) = self.handles() {
            entered.registrars.increment(1.0);
            entered.transitions.increment(1);
        }
    }

    fn leave(&self) {
        self.handles().inspect(|left| left.registrars.decrement(1.0));
    }

    fn handles(&self) -> Option<&Handles> {
        self.each.get(self.present?)
    }
}

/// One that has ended is not counted any more.
impl Drop for RegistrarMetrics {
    fn drop(&mut self) {
        self.leave();
    }
}
