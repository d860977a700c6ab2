//! When the log is told of saves that fail: of the first at once, and then no more than once a minute, however many files a directory has. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::later;

const PAUSE: Duration = Duration::from_secs(60);

/// Saves that failed since the log was told last.
#[derive(Debug, Default)]
pub(super) struct Failures {
    untold: u64,
    told: Option<Instant>,
}

impl Failures {
    /// One more. How many are to be told now, if it is time to.
    pub(super) fn add(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now < later(told, PAUSE)) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together_a_minute_later() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        assert_eq!(failures.add(start), Some(1));
        for second in 1..60 {
            assert_eq!(failures.add(start + Duration::from_secs(second)), None);
        }
        assert_eq!(failures.add(start + PAUSE), Some(60));
        assert_eq!(failures.add(start + PAUSE), None);
        assert_eq!(failures.add(start + 10 * PAUSE), Some(2));
    }
}
