//! The time as picks need it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A moment on tokio's clock, in a form that is cheap to subtract: a pick asks how long ago something was of two candidates at least, each time.
///
/// Moments of one process can be compared with each other, and with nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(super) u64);

impl Moment {
    /// This moment.
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        Instant::now().into()
    }

    /// Nanoseconds since `earlier`; 0 if that is later.
    #[must_use]
    #[inline]
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<Instant> for Moment {
    #[inline]
    fn from(instant: Instant) -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        // Before anything that is measured: where clocks are paused, another runtime's may be far behind this one's.
        let origin = ORIGIN.get_or_init(|| instant.checked_sub(YEAR).unwrap_or(instant));
        let since = instant.saturating_duration_since(*origin);
        Self(since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_that_passes_is_counted_and_never_backwards() {
        let began = Moment::now();
        tokio::time::advance(Duration::from_nanos(3_000_000_007)).await;
        assert_eq!(Moment::now().nanos_since(began), 3_000_000_007);
        assert_eq!(began.nanos_since(Moment::now()), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_behind_another_is_counted_as_well() {
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
        let later = Moment::now();
        assert_eq!(later.nanos_since(began.into()), 24 * 60 * 60 * 1_000_000_000);
    }
}
