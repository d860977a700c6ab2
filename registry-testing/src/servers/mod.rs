//! Real servers as child processes, and a TCP proxy that injects faults: what suites against real backends stand on.
//!
//! * [`etcd`]: one node, or a cluster whose members can be killed, paused, wiped, restored and cut off from each other.
//! * [`redis`]: one server, several under sentinels, or a cluster, whose servers can be killed, paused, lost and cut off from each other.
//! * [`proxy`]: latency, throttle, black holes, cuts and resets in front of any address, with counters that prove that a fault bit.
//! * [`disk`]: a disk that forgets what was not synced: power cuts, for root on Linux.
//! * `containers` (feature): etcd and Redis in containers, under the same control.
//! * [`process`]: what the servers have in common; use it for a server that is not here.
//!
//! Nothing listens or connects beyond 127.0.0.1. A server that is not installed is an error that says what to install, never a skip.
//! Every wait is for a condition, with a deadline ([`until`]). Real servers need real time: do not pause tokio's clock around them.
//! Unix only, and tried on Linux only.

#[cfg(feature = "containers")]
pub mod containers;
pub mod disk;
mod error;
pub mod etcd;
mod folder;
mod http;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod redis;
mod scratch;

use std::time::Duration;

pub use error::ServerError;

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Polls `probe` until it gives a value.
///
/// The probe may take its time; at the deadline it is dropped. Dropping the future drops the probe.
///
/// # Errors
/// [`ServerError::Timeout`] with `what`, when `within` has passed.
pub async fn until<T, F>(what: &str, within: Duration, mut probe: impl FnMut() -> F) -> Result<T, ServerError>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + within;
    let found = timeout_at(deadline, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(POLL).await;
        }
    });
    found.await.map_err(|_| ServerError::Timeout { what: what.to_owned(), within, log: String::new() })
}
