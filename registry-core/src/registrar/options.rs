//! How a registrar behaves, and the arithmetic of its heartbeats.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::entropy;
use crate::lease::{OnConflict, RegisterOptions, Ttl};

/// What a [`Registrar`](crate::Registrar) does when another process took its id over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFenced {
    /// Stay fenced: the other process is the newer one.
    #[default]
    Stop,
    /// Register again once the id is absent, or held by a lower incarnation; asks about every TTL.
    ReturnWhenAbsent,
}

/// How a [`Registrar`](crate::Registrar) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrarOptions {
    /// TTL, owner token, claim, and what to do at the first registration when the id is taken.
    pub register: RegisterOptions,
    /// What to do when another process took the id over. Default: stop.
    pub when_fenced: WhenFenced,
    /// The waits between attempts. Default: 50 ms to 1 s.
    pub backoff: Backoff,
    /// How long one operation may take before it is tried again. Default: 2 s; never more than a third of the TTL.
    pub operation_timeout: Duration,
    /// How long leaving may take, the grace of a drain not counted. Default: 5 s.
    pub shutdown_timeout: Duration,
    /// The name of the thread of [`Registrar::start_on_thread`](crate::Registrar::start_on_thread). Default: `registrar`.
    pub thread_name: String,
    /// The seed of the jitter. Default: from the operating system.
    pub seed: u64,
    /// What keeps metrics of its state. Default: nothing does.
    #[cfg(feature = "metrics")]
    pub meter: Option<crate::layer::Meter>,
}

impl Default for RegistrarOptions {
    fn default() -> Self {
        Self {
            register: RegisterOptions::default(),
            when_fenced: WhenFenced::default(),
            backoff: Backoff::default(),
            operation_timeout: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(5),
            thread_name: "registrar".into(),
            seed: entropy::random(),
            #[cfg(feature = "metrics")]
            meter: None,
        }
    }
}

impl RegistrarOptions {
    /// The defaults, with an owner token of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the TTL.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.register.ttl = ttl;
        self
    }

    /// Sets what happens at the first registration when the id is taken.
    #[must_use]
    pub fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.register.on_conflict = on_conflict;
        self
    }

    /// Sets how to register.
    #[must_use]
    pub fn with_register(mut self, register: RegisterOptions) -> Self {
        self.register = register;
        self
    }

    /// Sets what happens when another process took the id over.
    #[must_use]
    pub fn with_when_fenced(mut self, when_fenced: WhenFenced) -> Self {
        self.when_fenced = when_fenced;
        self
    }

    /// Sets the waits between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long one operation may take.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets how long leaving may take.
    #[must_use]
    pub fn with_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets the name of the thread of its own.
    #[must_use]
    pub fn with_thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Sets the seed of the jitter.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets what keeps metrics of its state.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_meter(mut self, meter: &crate::layer::Meter) -> Self {
        self.meter = Some(meter.clone());
        self
    }
}

/// The wait from one acknowledged heartbeat to the next: a third of the TTL, less up to a tenth of that, so that many
/// registrars do not beat in step. `jitter` is drawn from 0.0 to 1.0.
pub(super) fn heartbeat_interval(ttl: Ttl, jitter: f64) -> Duration {
    (ttl.get() / 3).mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

/// How long one operation may take: two attempts must fit into what is left of a TTL after a missed heartbeat.
pub(super) fn operation_timeout(ttl: Ttl, most: Duration) -> Duration {
    most.min(ttl.get() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_at_a_third_of_the_ttl_and_never_later() {
        let ttl = Ttl::from_secs(9).unwrap();
        assert_eq!(heartbeat_interval(ttl, 0.0), Duration::from_secs(3));
        assert_eq!(heartbeat_interval(ttl, 1.0), Duration::from_millis(2700));
    }

    #[test]
    fn three_attempts_fit_into_a_ttl() {
        let ttl = Ttl::from_secs(3).unwrap();
        assert_eq!(operation_timeout(ttl, Duration::from_secs(2)), Duration::from_secs(1));
        assert_eq!(operation_timeout(Ttl::MAX, Duration::from_secs(2)), Duration::from_secs(2));
    }
}
