//! The resume machine: turns what a backend writes, one connection's worth of a watch, into the stream that
//! [`Registry::watch`](crate::Registry::watch) promises.
//!
//! `machine` decides, as a pure function of what happened; `driver` does it. Nothing here knows a backend, and no backend
//! reconnects, resumes or resets by itself. `queue` is for backends that read a stream in a task of their own.

mod driver;
mod machine;
mod queue;

use std::sync::Arc;
use std::time::Duration;

pub use self::queue::{FeedClosed, FeedSender, OVERFLOW_AFTER, feed};

use crate::backoff::Backoff;
use crate::cursor::Cursor;
use crate::entropy;
use crate::name::ServiceName;
use crate::registry::{Watch, WatchSource};

/// A feed proves at least this often that it is current, while nothing changes.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// How a watch deals with trouble. The defaults suit every backend; tests shorten them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResumeOptions {
    /// The waits before attempts to open a feed anew. Default: 50 ms to 1 s.
    pub backoff: Backoff,
    /// The waits after errors that only a change of credentials or set-up mends. Default: 1 s to 5 s.
    pub slow_backoff: Backoff,
    /// How long opening may take before the watch says [`Stale`](crate::WatchEvent::Stale). Default: 3 s.
    pub patience: Duration,
    /// How long opening may take before it is given up and tried anew. Default: 10 s, enough to load a large service.
    pub open_deadline: Duration,
    /// How long a feed may say nothing before it counts as lost. Default: 10 s.
    pub silence: Duration,
    /// The seed of the jitter. Default: from the operating system.
    pub seed: u64,
}

impl Default for ResumeOptions {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            slow_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(5)),
            patience: Duration::from_secs(3),
            open_deadline: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            seed: entropy::random(),
        }
    }
}

impl ResumeOptions {
    /// Sets the seed of the jitter.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the waits between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long opening may take before the watch says so.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long opening may take before it is tried anew.
    #[must_use]
    pub fn with_open_deadline(mut self, deadline: Duration) -> Self {
        self.open_deadline = deadline;
        self
    }

    /// Sets how long a feed may say nothing.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

/// A watch of `service` over the feeds of `source`, from the beginning or from a cursor. Keeps W1 to W10 of
/// [`Registry::watch`](crate::Registry::watch) as far as the feeds keep the contract of [`WatchSource::open`]; a feed that
/// contradicts itself is dropped and opened anew.
///
/// It runs in the consumer's task: nothing is spawned, and nothing happens while the consumer does not poll.
pub fn watch<S>(source: Arc<S>, service: ServiceName, from: Option<Cursor>, options: ResumeOptions) -> Watch
where
    S: WatchSource + ?Sized,
{
    Watch::new(driver::stream(source, service, from, options))
}
