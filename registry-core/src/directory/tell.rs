//! When the log is told of holds: at once when they begin, and then no more than once a second, however many events there are. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::guard::HeldCause;
use crate::time::later;

const PAUSE: Duration = Duration::from_secs(1);

/// Instances since the log was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Held from then on.
    pub(super) begun: usize,
    /// Given up after their time.
    pub(super) expired: usize,
    /// Back after that.
    pub(super) premature: usize,
    /// Why one of those vanished that were held last.
    pub(super) cause: Option<HeldCause>,
}

#[derive(Debug, Default)]
pub(super) struct Tell {
    untold: Totals,
    told: Option<Instant>,
}

impl Tell {
    pub(super) fn add(&mut self, more: Totals) {
        self.untold.begun += more.begun;
        self.untold.expired += more.expired;
        self.untold.premature += more.premature;
        self.untold.cause = more.cause.or(self.untold.cause);
    }

    /// When what is untold is to be told.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let untold = self.untold != Totals::default();
        untold.then(|| self.told.map_or(now, |told| later(told, PAUSE)))
    }

    /// What is to be told now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Totals> {
        self.due(now).filter(|due| *due <= now)?;
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_what_follows_together() {
        let one = Totals { begun: 1, ..Totals::default() };
        let (mut tell, start) = (Tell::default(), Instant::now());
        assert_eq!((tell.due(start), tell.take(start)), (None, None));
        tell.add(one);
        assert_eq!(tell.take(start), Some(one));
        for ms in 1..1_000 {
            let now = start + Duration::from_millis(ms);
            tell.add(one);
            assert_eq!((tell.due(now), tell.take(now)), (Some(start + PAUSE), None), "{ms}");
        }
        tell.add(Totals { expired: 5, premature: 2, ..Totals::default() });
        let all = Totals { begun: 999, expired: 5, premature: 2, cause: None };
        assert_eq!(tell.take(start + PAUSE), Some(all));
        assert_eq!(tell.take(start + 3 * PAUSE), None);
    }
}
