//! Conveniences over any registry.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::event::WatchEvent;
use crate::fold::fold;
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
