//! How long to wait before trying again.

use std::time::Duration;

/// Whatever is asked for, trying again is no hot loop.
const LEAST: Duration = Duration::from_millis(1);

/// Exponential back-off with jitter: attempt `n` (from 0) waits between half and all of `min(base * 2^n, cap)`, and at
/// least a millisecond.
///
/// Jitter keeps clients that failed together from coming back together; see Marc Brooker, "Exponential Backoff And Jitter",
/// AWS Architecture Blog, 2015 ("equal jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The wait before the first retry, before jitter.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for Backoff {
    /// 50 ms to 1 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(50), cap: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// A back-off from `base` to `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait before retry number `attempt` (from 0); `jitter` is drawn from 0.0 to 1.0.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(attempt.min(30))).min(self.cap);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_back_off_is_a_hot_loop() {
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).delay(0, 0.0), LEAST);
    }

    #[test]
    fn delays_double_up_to_the_cap_and_stay_within_the_jitter() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, full) in
            [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1000), (5, 1000), (u32::MAX, 1000)]
        {
            assert_eq!(backoff.delay(attempt, 1.0), Duration::from_millis(full));
            assert_eq!(backoff.delay(attempt, 0.0), Duration::from_millis(full / 2));
        }
    }
}
