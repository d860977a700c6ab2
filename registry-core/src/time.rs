//! Moments that cannot overflow, and timers that are seldom reached.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

/// As good as never; an [`Instant`] has no greatest value to ask for.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// The moment `after` from `now`; for what is as good as for ever, a moment that is as good as never.
#[must_use]
pub fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after.min(NEVER)).unwrap_or(now)
}

/// Timers for requests that are nearly always answered sooner: one that was not reached is used again.
///
/// tokio wakes the thread that waits for the network when a timer is registered that is due before all others (its `Handle::reregister`), and a deadline of a
/// request in a quiet process is. One that is put off is not registered anew. So keep a `Timers` for each length of time, where each deadline lies behind the one before.
///
/// A timer that is kept still comes due once, at the deadline it had last, and wakes whoever used it last, for nothing. Until then it holds on to that
/// task's memory, and to its runtime.
#[derive(Debug, Default)]
pub struct Timers {
    kept: Mutex<Vec<Kept>>,
}

/// So many are kept at most.
const MOST: usize = 64;

#[derive(Debug)]
struct Kept {
    /// Which runtime wakes it. One that has ended must not be asked; tokio gives no id twice, where it can count to 2^64.
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

impl Timers {
    /// A timer that is due at `deadline`, to the millisecond, as tokio's are.
    ///
    /// # Panics
    /// Outside of a tokio runtime with a clock, as tokio's timers do.
    pub fn at(&self, deadline: Instant) -> Timer<'_> {
        let runtime = Handle::current().id();
        let kept = match self.take(runtime) {
            Some(mut kept) => {
                kept.sleep.as_mut().reset(deadline);
                kept
            }
            None => Kept { runtime, sleep: Box::pin(sleep_until(deadline)) },
        };
        Timer { timers: self, kept: Some(kept) }
    }

    /// One that was kept on `runtime`. Where there is none, those of others that are over are let go: their runtimes may have ended.
    fn take(&self, runtime: Id) -> Option<Kept> {
        // Dropped behind the lock: with a timer goes the waker of whoever used it.
        let _over: Vec<Kept>;
        let mut kept = self.kept();
        if let Some(at) = kept.iter().rposition(|one| one.runtime == runtime) {
            return Some(kept.remove(at));
        }
        let now = Instant::now();
        let (over, pending) = kept.drain(..).partition(|one| one.sleep.deadline() <= now);
        (_over, *kept) = (over, pending);
        None
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that is ready from its deadline on. Dropping it gives the timer back.
#[derive(Debug)]
#[must_use]
pub struct Timer<'a> {
    timers: &'a Timers,
    /// Always there, until it is dropped.
    kept: Option<Kept>,
}

impl Timer<'_> {
    /// It is due at `deadline` instead, also if it was due already.
    pub fn reset(&mut self, deadline: Instant) {
        if let Some(kept) = &mut self.kept
            && kept.sleep.deadline() != deadline
        {
            kept.sleep.as_mut().reset(deadline);
        }
    }
}

impl Future for Timer<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.kept {
            Some(kept) => kept.sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let Some(this) = self.kept.take() else { return };
        let mut kept = self.timers.kept();
        kept.push(this);
        // That which was not used for longest.
        let over = (kept.len() > MOST).then(|| kept.remove(0));
        drop(kept);
        drop(over);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::{MOST, Timers, later};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_timer_is_due_at_its_deadline_also_one_that_was_kept_or_put_off() {
        let (timers, begun) = (Timers::default(), Instant::now());
        timers.at(later(begun, SECOND)).await;
        assert_eq!(begun.elapsed(), SECOND);
        let mut again = timers.at(later(begun, 3 * SECOND));
        assert!(timeout(SECOND, &mut again).await.is_err(), "not due before");
        again.reset(later(begun, 5 * SECOND));
        again.await;
        assert_eq!(begun.elapsed(), 5 * SECOND);
        // One that lies before what it was registered for.
        drop(timers.at(later(begun, 60 * SECOND)));
        timers.at(later(begun, 6 * SECOND)).await;
        assert_eq!(begun.elapsed(), 6 * SECOND);
        assert_eq!(timers.kept().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_due_can_be_put_off_and_is_due_again() {
        let (timers, begun) = (Timers::default(), Instant::now());
        let mut timer = timers.at(later(begun, SECOND));
        (&mut timer).await;
        timer.reset(later(begun, 2 * SECOND));
        timer.await;
        assert_eq!(begun.elapsed(), 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_than_a_few() {
        let timers = Timers::default();
        let many: Vec<_> = (0..2 * MOST).map(|_| timers.at(later(Instant::now(), SECOND))).collect();
        drop(many);
        assert_eq!(timers.kept().len(), MOST);
    }

    #[test]
    fn a_timer_of_a_runtime_that_has_ended_is_not_used_again() {
        let timers = Timers::default();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async { timers.at(later(Instant::now(), Duration::from_millis(1))).await });
        }
        assert_eq!(timers.kept().len(), 1);
    }

    #[test]
    fn two_runtimes_in_turn_keep_a_timer_each() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (timers, one, other) = (Timers::default(), runtime(), runtime());
        for _ in 0..3 {
            for runtime in [&one, &other] {
                runtime.block_on(async { drop(timers.at(later(Instant::now(), 60 * SECOND))) });
            }
        }
        assert_eq!(timers.kept().len(), 2);
    }
}
