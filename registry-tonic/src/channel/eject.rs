//! Whom to call no more for a while, because its calls fail.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::backoff::Backoff;

/// When an endpoint that answers, but fails, is ejected, and for how long. A call failed when its connection broke, when the
/// server answered `UNAVAILABLE`, or when there was no answer within its deadline; any other answer proves that the endpoint works,
/// and so does a stream that was reset by itself, as when a handler panics.
///
/// An ejected endpoint gets no calls until the back-off is over. Then it is connected to anew, and one more failure ejects it
/// again, for longer, until a call succeeds. At least half of all endpoints, and one, must be left to call, or nobody is ejected.
///
/// As consecutive-failure accrual in Finagle and linkerd, with the floor of "maximum ejection percent" in Envoy's outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// So many failures in a row; 1 or more. Default: 5.
    pub after: u32,
    /// For how long, the first time and from time to time. Default: 1 s to 30 s.
    pub backoff: Backoff,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { after: 5, backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)) }
    }
}

impl Ejection {
    /// Sets after how many failures in a row; 0 is taken for 1.
    #[must_use]
    pub fn with_after(mut self, failures: u32) -> Self {
        self.after = failures.max(1);
        self
    }

    /// Sets for how long.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}

/// How many calls of an endpoint failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Streak(AtomicU32);

impl Streak {
    pub(crate) fn succeeded(&self) {
        // Most calls succeed, and a read is cheaper than a write that other cores must learn of.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// How many it is with this one.
    pub(crate) fn failed(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Whoever comes back has one failure left, of so many.
    pub(crate) fn on_probation(&self, after: u32) {
        self.0.store(after.saturating_sub(1), Ordering::Relaxed);
    }
}

/// How many endpoints can be called, and how many of them may be ejected.
#[derive(Debug, Default)]
pub(crate) struct Quota(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    all: usize,
    /// Those that can be called, and those that could if they were not ejected.
    able: usize,
    ejected: usize,
}

impl Quota {
    /// There are so many, of which so many can be called, or are ejected. That may have been seen a moment ago: who is ejected is counted here.
    pub(crate) fn set(&self, all: usize, able: usize) {
        let mut counted = self.counted();
        (counted.all, counted.able) = (all, able);
    }

    /// Ejects another one, if that may be, until what is given is dropped.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Ejected> {
        let mut counted = self.counted();
        let least = counted.all.div_ceil(2).max(1);
        let left = counted.able.checked_sub(counted.ejected + 1).filter(|left| *left >= least);
        left.map(|_| {
            counted.ejected += 1;
            Ejected(Arc::clone(self))
        })
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is ejected.
#[derive(Debug)]
pub(crate) struct Ejected(Arc<Quota>);

impl Drop for Ejected {
    fn drop(&mut self) {
        let mut counted = self.0.counted();
        counted.ejected = counted.ejected.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many can be ejected one after the other.
    fn ejected(all: usize, callable: usize) -> usize {
        let quota = Arc::<Quota>::default();
        quota.set(all, callable);
        (0..all).map_while(|_| quota.take()).collect::<Vec<_>>().len()
    }

    #[test]
    fn half_of_all_and_one_always_stay() {
        assert_eq!([0, 1, 2, 3, 4, 5, 10].map(|all| ejected(all, all)), [0, 0, 1, 1, 2, 2, 5]);
    }

    #[test]
    fn those_that_cannot_be_called_anyway_count_as_gone() {
        assert_eq!(ejected(4, 3), 1);
        assert_eq!(ejected(4, 2), 0);
    }

    #[test]
    fn what_was_seen_before_an_ejection_does_not_undo_it() {
        let quota = Arc::<Quota>::default();
        quota.set(4, 4);
        let one = quota.take().unwrap();
        quota.set(4, 4);
        let _other = quota.take().unwrap();
        quota.set(4, 4);
        assert!(quota.take().is_none());
        drop(one);
        assert!(quota.take().is_some());
    }

    #[test]
    fn a_success_ends_the_streak_and_probation_leaves_one_failure() {
        let streak = Streak::default();
        assert_eq!((streak.failed(), streak.failed()), (1, 2));
        streak.succeeded();
        assert_eq!(streak.failed(), 1);
        streak.on_probation(5);
        assert_eq!(streak.failed(), 5);
    }
}
