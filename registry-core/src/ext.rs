//! Conveniences over any registry.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::event::WatchEvent;
use crate::fold::fold;
#[cfg(feature = "metrics")]
use crate::layer::Meter;
use crate::layer::{Layer, Layered, Spans, Timeouts};
use crate::name::ServiceName;
use crate::registry::Registry;
use crate::snapshot::Snapshot;
use crate::time::later;

/// Conveniences over any [`Registry`], `Arc<dyn Registry>` included.
pub trait RegistryExt: Registry {
    /// Watches `service` until its instances satisfy `wanted`, and gives them. For tests and start-up scripts.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) after `within`, with the number of instances seen last. The last trouble of the
    /// registry is its source.
    fn wait_until<F>(
        &self,
        service: &ServiceName,
        within: Duration,
        wanted: F,
    ) -> impl Future<Output = Result<Snapshot>> + Send
    where
        F: FnMut(&Snapshot) -> bool + Send,
    {
        wait_until(self.watch(service, None), service.clone(), later(Instant::now(), within), wanted)
    }

    /// This registry within a [`layer`](crate::layer).
    fn layered<L: Layer>(self, layer: L) -> Layered<Self, L>
    where
        Self: Sized,
    {
        Layered::new(self, layer)
    }

    /// With a deadline for each operation.
    fn with_timeouts(self, timeouts: Timeouts) -> Layered<Self, Timeouts>
    where
        Self: Sized,
    {
        self.layered(timeouts)
    }

    /// With a tracing span for each operation, and an event for what a watch goes through.
    fn traced(self) -> Layered<Self, Spans>
    where
        Self: Sized,
    {
        self.layered(Spans::new())
    }

    /// With metrics of operations and watches.
    #[cfg(feature = "metrics")]
    fn metered(self, meter: &Meter) -> Layered<Self, Meter>
    where
        Self: Sized,
    {
        self.layered(meter.clone())
    }

    /// This registry as what a [`Registrar`](crate::Registrar), a [`Directory`](crate::Directory) and most others take.
    fn shared(self) -> Arc<dyn Registry>
    where
        Self: Sized,
    {
        Arc::new(self)
    }
}

impl<R: Registry + ?Sized> RegistryExt for R {}

async fn wait_until(
    mut watch: crate::Watch,
    service: ServiceName,
    deadline: Instant,
    mut wanted: impl FnMut(&Snapshot) -> bool,
) -> Result<Snapshot> {
    let mut view = None;
    let mut trouble = None;
    while let Ok(Some(event)) = timeout_at(deadline, watch.next()).await {
        if let WatchEvent::Stale { error, .. } = &event {
            trouble = Some(error.clone());
        }
        fold(&mut view, &event);
        if let Some(snapshot) = view.take_if(|snapshot| wanted(snapshot)) {
            return Ok(snapshot);
        }
    }
    let seen = match &view {
        Some(snapshot) => {
            format!("{service} has {} instances, which is not what was waited for", snapshot.len())
        }
        None => format!("no answer about {service}"),
    };
    let error = Error::new(ErrorKind::Timeout, Operation::Watch, seen);
    Err(match trouble {
        Some(trouble) => error.with_source(trouble),
        None => error,
    })
}
