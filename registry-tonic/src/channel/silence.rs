//! What passes over a connection: whether it has fallen silent while answers are due, which is what a black hole looks like, and how often
//! something was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// What is noted of one connection: when something was last heard on it, and since when an answer is due. Costs a call two atomic
/// additions, and wakes nobody as long as the watch is on.
#[derive(Debug)]
pub(crate) struct Silence {
    start: Instant,
    /// Nanoseconds from `start` until something was last heard.
    heard: AtomicU64,
    /// Requests that have no answer yet.
    due: AtomicU32,
    /// Nanoseconds from `start` until there was the first of them; earlier by `carried`.
    due_since: AtomicU64,
    /// For how many nanoseconds nothing had been heard when the last of them was given up: callers that give up sooner than silence is told
    /// must not hide it.
    carried: AtomicU64,
    /// Whether any request was ever answered.
    answered: AtomicBool,
    /// How often something was to be written.
    writes: AtomicU64,
    /// Whether someone looks.
    watched: AtomicBool,
    begun: Notify,
}

impl Silence {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            start: now,
            heard: AtomicU64::new(0),
            due: AtomicU32::new(0),
            due_since: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            begun: Notify::new(),
        })
    }

    /// Something was heard.
    pub(crate) fn broken(&self, now: Instant) {
        self.heard.store(self.since_start(now), Ordering::Relaxed);
        if self.carried.load(Ordering::Relaxed) != 0 {
            self.carried.store(0, Ordering::Relaxed);
        }
    }

    /// Something is written. Only the connection's own task tells so.
    pub(crate) fn written(&self) {
        self.writes.store(self.writes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// A request is sent, and its answer is due until what is given is dropped.
    pub(crate) fn due(self: &Arc<Self>, now: Instant) -> Due {
        if self.due.fetch_add(1, Ordering::SeqCst) == 0 {
            let carried = self.carried.load(Ordering::Relaxed);
            self.due_since.store(self.since_start(now).saturating_sub(carried), Ordering::SeqCst);
        }
        if !self.watched.load(Ordering::SeqCst) && !self.watched.swap(true, Ordering::SeqCst) {
            self.begun.notify_one();
        }
        Due { silence: Arc::clone(self), writes: self.writes.load(Ordering::Relaxed) }
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        // Almost always it is not the first one, and a read is cheaper than a write that other cores must learn of.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether any request was ever answered.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// How long nothing has been heard although an answer was due all the time; none if none is due.
    pub(crate) fn lasting(&self, now: Instant) -> Option<Duration> {
        if self.due.load(Ordering::SeqCst) == 0 {
            return None;
        }
        Some(Duration::from_nanos(self.since_start(now).saturating_sub(self.since())))
    }

    /// Nanoseconds from `start` since when an answer is due and nothing was heard.
    fn since(&self) -> u64 {
        self.heard.load(Ordering::Relaxed).max(self.due_since.load(Ordering::SeqCst))
    }

    /// No answer is due any more. Almost always because it was heard, and then the time does not matter.
    fn settled(&self) {
        if self.heard.load(Ordering::Relaxed) <= self.due_since.load(Ordering::SeqCst) {
            let carried = self.since_start(Instant::now()).saturating_sub(self.since());
            self.carried.store(carried, Ordering::Relaxed);
        }
    }

    /// Completes once nothing has been heard for `limit`, in which an answer was due; time in which none was does not count.
    pub(crate) async fn lasts(&self, limit: Duration) {
        loop {
            match self.lasting(Instant::now()) {
                Some(lasting) if lasting >= limit => return,
                Some(lasting) => sleep(limit - lasting).await,
                None if self.carried.load(Ordering::Relaxed) as u128 >= limit.as_nanos() => return,
                None => self.until_due(limit).await,
            }
        }
    }

    /// Waits for a request, without being woken by each: looks again after `limit` while there are some from time to time.
    async fn until_due(&self, limit: Duration) {
        self.watched.store(false, Ordering::SeqCst);
        // One that came before the line above has woken nobody.
        if self.due.load(Ordering::SeqCst) > 0 {
            self.watched.store(true, Ordering::SeqCst);
            return;
        }
        self.begun.notified().await;
        sleep(limit).await;
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// An answer that is due.
#[derive(Debug)]
pub(crate) struct Due {
    silence: Arc<Silence>,
    /// How often something had been written before.
    writes: u64,
}

impl Due {
    /// It was answered.
    pub(crate) fn answered(&self) {
        self.silence.answered();
    }

    /// Whether anything was written since. If not, nothing of the request was; asked after the connection has told what became of it.
    pub(crate) fn has_been_written(&self) -> bool {
        self.silence.writes.load(Ordering::Relaxed) != self.writes
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if self.silence.due.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.silence.settled();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const LIMIT: Duration = Duration::from_millis(500);

    /// How long it takes from now until silence is told.
    async fn told(silence: &Silence) -> Option<Duration> {
        let began = Instant::now();
        timeout(Duration::from_secs(60), silence.lasts(LIMIT)).await.ok()?;
        Some(began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_an_answer_is_due() {
        let silence = Silence::new(Instant::now());
        assert_eq!(told(&silence).await, None, "nothing was asked");
        let due = silence.due(Instant::now());
        let told_after = told(&silence).await.unwrap();
        assert!((LIMIT..LIMIT * 2 + Duration::from_millis(2)).contains(&told_after), "{told_after:?}");
        silence.broken(Instant::now());
        drop(due);
        assert_eq!(told(&silence).await, None, "it was answered");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_heard_begins_it_anew() {
        let silence = Silence::new(Instant::now());
        let _due = silence.due(Instant::now());
        for _ in 0..10 {
            advance(LIMIT / 2).await;
            silence.broken(Instant::now());
        }
        assert_eq!(silence.lasting(Instant::now()), Some(Duration::ZERO));
        let told_after = told(&silence).await.unwrap();
        assert!((LIMIT..LIMIT + Duration::from_millis(2)).contains(&told_after), "{told_after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_give_up_early_add_up_to_silence_until_something_is_heard() {
        let silence = Silence::new(Instant::now());
        let give_up = async |heard: bool| {
            for _ in 0..9 {
                let due = silence.due(Instant::now());
                advance(LIMIT / 10).await;
                drop(due);
                advance(LIMIT).await;
            }
            if heard {
                silence.broken(Instant::now());
            }
        };
        give_up(true).await;
        give_up(false).await;
        let _due = silence.due(Instant::now());
        assert_eq!(silence.lasting(Instant::now()), Some(LIMIT / 10 * 9));
        advance(LIMIT / 10).await;
        assert_eq!(told(&silence).await, Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_come_one_by_one_are_noticed_when_they_are_no_longer_answered() {
        let silence = Silence::new(Instant::now());
        let watching = Arc::clone(&silence);
        let watch = tokio::spawn(async move { told(&watching).await });
        for _ in 0..20 {
            let due = silence.due(Instant::now());
            sleep(LIMIT / 5).await;
            silence.broken(Instant::now());
            drop(due);
            sleep(LIMIT / 5).await;
        }
        assert!(!watch.is_finished());
        let _due = silence.due(Instant::now());
        let asked = Instant::now();
        watch.await.unwrap().unwrap();
        assert!(asked.elapsed() <= LIMIT * 2, "{:?}", asked.elapsed());
    }
}
