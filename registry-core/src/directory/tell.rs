//! When the log is told of what may happen very often: of the first at once, and then no more than once in a pause, however much there is. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::guard::HeldCause;
use crate::time::later;

/// What happened since the log was told last. Its default is that nothing has.
#[derive(Debug)]
pub(super) struct Tell<T> {
    pause: Duration,
    untold: T,
    told: Option<Instant>,
}

impl<T: Default + PartialEq> Tell<T> {
    /// Nothing has happened yet.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, untold: T::default(), told: None }
    }

    /// More has happened.
    pub(super) fn add(&mut self, more: impl FnOnce(&mut T)) {
        more(&mut self.untold);
    }

    /// When what is untold is to be told.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let untold = self.untold != T::default();
        untold.then(|| self.told.map_or(now, |told| later(told, self.pause)))
    }

    /// What is to be told now.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        self.due(now).filter(|due| *due <= now)?;
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// What a guard did, in instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    /// Held from then on.
    pub(super) begun: usize,
    /// Given up after their time.
    pub(super) expired: usize,
    /// Back after that.
    pub(super) premature: usize,
    /// Why one of those vanished that were held last.
    pub(super) cause: Option<HeldCause>,
}

impl Holds {
    pub(super) fn add(&mut self, more: Self) {
        self.begun += more.begun;
        self.expired += more.expired;
        self.premature += more.premature;
        self.cause = more.cause.or(self.cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ResetCause;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_is_told_at_once_and_what_follows_together() {
        let (mut tell, start) = (Tell::<u64>::new(PAUSE), Instant::now());
        assert_eq!((tell.due(start), tell.take(start)), (None, None));
        tell.add(|untold| *untold += 1);
        assert_eq!(tell.take(start), Some(1));
        for ms in 1..1_000 {
            let now = start + Duration::from_millis(ms);
            tell.add(|untold| *untold += 1);
            assert_eq!((tell.due(now), tell.take(now)), (Some(start + PAUSE), None), "{ms}");
        }
        assert_eq!(tell.take(start + PAUSE), Some(999));
        assert_eq!(tell.take(start + 3 * PAUSE), None);
        tell.add(|untold| *untold += 2);
        let now = start + 3 * PAUSE;
        assert_eq!(
            (tell.due(now), tell.take(now)),
            (Some(start + 2 * PAUSE), Some(2)),
            "it has waited long enough"
        );
    }

    #[test]
    fn of_what_guards_did_all_counts_and_the_last_cause_is_kept() {
        let mut holds = Holds::default();
        let (expired, wiped) = (HeldCause::Expired, HeldCause::Reset(ResetCause::Wiped));
        for more in [
            Holds { begun: 2, cause: Some(expired), ..Holds::default() },
            Holds { begun: 1, cause: Some(wiped), ..Holds::default() },
            Holds { expired: 3, premature: 1, ..Holds::default() },
        ] {
            holds.add(more);
        }
        assert_eq!(holds, Holds { begun: 3, expired: 3, premature: 1, cause: Some(wiped) });
    }
}
