//! Where a registrar tells its state: to whoever reads it, and to its meter, which so counts each, however soon it is left.

use std::sync::Arc;

use arc_swap::Guard;

use super::options::RegistrarOptions;
use super::state::RegistrarState;
#[cfg(feature = "metrics")]
use crate::layer::meter::RegistrarMetrics;
use crate::name::ServiceName;
use crate::published::Publisher;

pub(super) struct Teller {
    publisher: Publisher<RegistrarState>,
    #[cfg(feature = "metrics")]
    metrics: Option<RegistrarMetrics>,
}

impl Teller {
    /// Tells the meter of the state that `publisher` has already.
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "the meter's alone"))]
    pub(super) fn new(
        publisher: Publisher<RegistrarState>,
        service: &ServiceName,
        options: &RegistrarOptions,
    ) -> Self {
        #[cfg(feature = "metrics")]
        let metrics = options.meter.as_ref().map(|meter| {
            let mut metrics = RegistrarMetrics::new(meter, service);
            metrics.show(&publisher.load());
            metrics
        });
        Self {
            publisher,
            #[cfg(feature = "metrics")]
            metrics,
        }
    }

    pub(super) fn tell(&mut self, state: RegistrarState) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &mut self.metrics {
            metrics.show(&state);
        }
        self.publisher.publish(state);
    }

    /// What was told last.
    pub(super) fn told(&self) -> Guard<Arc<RegistrarState>> {
        self.publisher.load()
    }
}

/// One that is abandoned is closed as well.
#[cfg(feature = "metrics")]
impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            metrics.show(&RegistrarState::Closed { error: None });
        }
    }
}
