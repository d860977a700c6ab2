//! When an instance that is not heard of again has to end, and how that compares with when its end was told.

use std::time::Duration;

use tokio::time::Instant;

/// Servers count in whole milliseconds, so an end may come earlier by as much.
const GRAIN: Duration = Duration::from_millis(1);

/// An instance's last renewal, as its owner knows it: the server took it somewhere between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Renewal {
    sent: Instant,
    acknowledged: Instant,
}

impl Renewal {
    /// One that was sent then, and is acknowledged now.
    pub(super) fn acknowledged(sent: Instant) -> Self {
        Self { sent, acknowledged: Instant::now() }
    }

    /// When it was acknowledged.
    pub(super) fn at(&self) -> Instant {
        self.acknowledged
    }

    /// By when the instance has ended at the latest, in truth.
    pub(super) fn deadline(&self, ttl: Duration) -> Instant {
        self.acknowledged + ttl
    }

    /// How long after that it was told, in s; below zero if it was told before.
    pub(super) fn lag(&self, ttl: Duration, told: Instant) -> f64 {
        seconds_after(self.deadline(ttl), told)
    }

    /// Whether it was told before the instance can have ended, wherever the renewal was taken.
    pub(super) fn is_too_early(&self, ttl: Duration, told: Instant) -> bool {
        told + GRAIN < self.sent + ttl
    }
}

/// From `since` to `at`, in s; below zero if it was before.
pub(super) fn seconds_after(since: Instant, at: Instant) -> f64 {
    match at.checked_duration_since(since) {
        Some(after) => after.as_secs_f64(),
        None => -since.saturating_duration_since(at).as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Renewal};

    #[test]
    fn an_end_is_early_only_if_it_is_told_before_it_can_have_come() {
        let sent = Instant::now();
        let (ttl, millis) = (Duration::from_secs(2), Duration::from_millis);
        let renewal = Renewal { sent, acknowledged: sent + millis(10) };
        let told = |after: u64| {
            (renewal.lag(ttl, sent + millis(after)), renewal.is_too_early(ttl, sent + millis(after)))
        };
        assert_eq!(told(2_110), (0.1, false));
        assert_eq!(told(2_005), (-0.005, false), "the server may have taken it when it was sent");
        assert_eq!(told(1_999), (-0.011, false), "within a millisecond");
        assert_eq!(told(1_998), (-0.012, true));
    }
}
