//! Whether a server is healthy: asked of its user's check, or told by it.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::text::chain;

type Cause = Box<dyn StdError + Send + Sync>;
type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Cause>> + Send + Sync>;

/// The wait from one look at what is told to the next.
const GLANCE: Duration = Duration::from_millis(1);

/// How a [`Server`](crate::Server) finds out whether it is healthy.
///
/// Either it asks, again and again ([`new`](Self::new)), or it is told, through a `tokio::sync::watch::Receiver<bool>` (`into()`):
/// an operator's switch, say.
///
/// ```
/// # use registry_tonic::{HealthCheck, ServerBuilder};
/// # struct Database;
/// # impl Database { async fn ping(&self) -> std::io::Result<()> { Ok(()) } }
/// # fn example(builder: ServerBuilder, database: std::sync::Arc<Database>) -> ServerBuilder {
/// let check = HealthCheck::new(move || {
///     let database = database.clone();
///     async move { database.ping().await }
/// });
/// builder.health_check(check.with_interval(std::time::Duration::from_secs(2)))
/// # }
/// ```
#[must_use]
pub struct HealthCheck {
    source: Source,
    interval: Duration,
    timeout: Duration,
    failures: u32,
}

enum Source {
    Asked(Check),
    Told(watch::Receiver<bool>),
}

impl HealthCheck {
    /// Asks `check`: `Ok` is healthy. An error, no answer within the timeout, and a panic are failures.
    ///
    /// A check runs as a task of its own, one at a time; the first one begins at once. When the time is up, or the server stops, its future
    /// is dropped. It must not block its thread.
    pub fn new<C, F, E>(check: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let check = move || {
            let answer = check();
            async move { answer.await.map_err(Into::into) }.boxed()
        };
        Self::with_source(Source::Asked(Arc::new(check)))
    }

    fn with_source(source: Source) -> Self {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
        Self { source, interval, timeout, failures: 3 }
    }

    /// The wait from one answer to the next question; at least 1 ms. Default: 5 s.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How long one check may take. Default: 1 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many failures in a row make a healthy server unhealthy; at least 1. Default: 3. One success makes it healthy again.
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures.max(1);
        self
    }

    async fn run(self, verdict: watch::Sender<Verdict>) {
        let show = |new: Verdict| {
            verdict.send_if_modified(|shown| {
                let modified = *shown != new;
                *shown = new;
                modified
            });
        };
        match self.source {
            Source::Asked(check) => {
                let mut failed = 0_u32;
                loop {
                    let answer = ask(&check, self.timeout).await;
                    failed = if answer.is_ok() { 0 } else { failed.saturating_add(1) };
                    if let Err(reason) = &answer {
                        tracing::debug!(%reason, failed, "a health check failed");
                    }
                    let last = verdict.borrow().clone();
                    show(last.after(answer, failed >= self.failures));
                    sleep(self.interval).await;
                }
            }
            Source::Told(mut told) => loop {
                let healthy = *told.borrow_and_update();
                show(if healthy { Verdict::Healthy } else { Verdict::Unhealthy("it was told so".into()) });
                // What flickers would else be a line in the log and a change to publish each time.
                sleep(GLANCE).await;
                if told.changed().await.is_err() {
                    // What was said last stands.
                    return;
                }
            },
        }
    }
}

/// One answer of `check`, or why there is none.
async fn ask(check: &Check, limit: Duration) -> Result<(), Arc<str>> {
    let check = Arc::clone(check);
    let mut asking = JoinSet::new();
    asking.spawn(async move { check().await });
    match timeout(limit, asking.join_next()).await {
        Ok(Some(Ok(Ok(())))) => Ok(()),
        Ok(Some(Ok(Err(error)))) => Err(chain(&*error).into()),
        Ok(Some(Err(_)) | None) => Err("the health check panicked".into()),
        Err(_) => Err(format!("no answer of the health check within {limit:?}").into()),
    }
}

impl From<watch::Receiver<bool>> for HealthCheck {
    /// Healthy while the value is `true`; the other settings do not matter. It is looked at once a millisecond at most, and what was there in between
    /// is not noticed. When its sender is gone, the last value stands.
    fn from(told: watch::Receiver<bool>) -> Self {
        Self::with_source(Source::Told(told))
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// What is known of a server's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Unknown,
    Healthy,
    Unhealthy(Arc<str>),
}

impl Verdict {
    /// The verdict after one more answer, the last of `enough` failures in a row or not. Who was never healthy gets no benefit of the doubt.
    fn after(self, answer: Result<(), Arc<str>>, enough: bool) -> Self {
        match (answer, self) {
            (Ok(()), _) => Self::Healthy,
            (Err(_), Self::Healthy) if !enough => Self::Healthy,
            (Err(reason), _) => Self::Unhealthy(reason),
        }
    }
}

/// The health of one server, under observation for as long as this lives.
#[derive(Debug)]
pub(super) struct Health {
    verdict: watch::Receiver<Verdict>,
    /// Ends with it.
    _observing: JoinSet<()>,
}

impl Health {
    /// Without a check it is always good.
    pub(super) fn observe(check: Option<HealthCheck>) -> Self {
        let mut observing = JoinSet::new();
        let unasked = if check.is_some() { Verdict::Unknown } else { Verdict::Healthy };
        let (sender, verdict) = watch::channel(unasked);
        if let Some(check) = check {
            observing.spawn(check.run(sender));
        }
        Self { verdict, _observing: observing }
    }

    pub(super) fn verdict(&mut self) -> Verdict {
        self.verdict.borrow_and_update().clone()
    }

    /// Completes when there is a verdict that has not been asked for yet.
    pub(super) async fn changed(&mut self) {
        if self.verdict.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn unhealthy(reason: &str) -> Verdict {
        Verdict::Unhealthy(reason.into())
    }

    /// The verdicts as they change, with the seconds after which they do.
    async fn verdicts(check: HealthCheck, count: usize) -> Vec<(u64, Verdict)> {
        let began = Instant::now();
        let mut health = Health::observe(Some(check));
        assert_eq!(health.verdict(), Verdict::Unknown);
        let mut seen = Vec::new();
        while seen.len() < count {
            health.changed().await;
            seen.push((began.elapsed().as_secs(), health.verdict()));
        }
        seen
    }

    /// A check that fails when its turn, counted from 1, is among `failing`.
    fn failing(failing: &'static [u32]) -> HealthCheck {
        let turns = Arc::new(AtomicU32::new(0));
        let check = HealthCheck::new(move || {
            let turn = turns.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if failing.contains(&turn) { Err(format!("turn {turn}")) } else { Ok(()) } }
        });
        check.with_interval(SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_below_the_threshold_change_nothing() {
        let check = failing(&[2, 3, 5, 6, 8, 9, 10]).with_failures(3);
        let expected = [(0, Verdict::Healthy), (9, unhealthy("turn 10")), (10, Verdict::Healthy)];
        assert_eq!(verdicts(check, 3).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_never_healthy_is_unhealthy_at_the_first_failure() {
        let check = failing(&[1]).with_failures(100);
        assert_eq!(verdicts(check, 2).await, [(0, unhealthy("turn 1")), (1, Verdict::Healthy)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_failed_after_its_timeout_and_is_asked_again() {
        let turns = AtomicU32::new(0);
        let check = HealthCheck::new(move || {
            let hangs = turns.fetch_add(1, Ordering::SeqCst) % 2 == 1;
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok::<_, Cause>(())
            }
        });
        let check = check.with_interval(SECOND).with_timeout(3 * SECOND).with_failures(1);
        let hung = unhealthy("no answer of the health check within 3s");
        assert_eq!(verdicts(check, 3).await, [(0, Verdict::Healthy), (4, hung), (5, Verdict::Healthy)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_panics_counts_as_failed() {
        let check =
            HealthCheck::new(|| async { if true { panic!("of this test") } else { Ok::<_, Cause>(()) } });
        assert_eq!(verdicts(check, 1).await, [(0, unhealthy("the health check panicked"))]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_last_stands_when_nobody_tells_any_more() {
        let (tell, told) = watch::channel(true);
        let mut health = Health::observe(Some(told.into()));
        health.changed().await;
        assert_eq!(health.verdict(), Verdict::Healthy);
        tell.send_replace(false);
        health.changed().await;
        assert_eq!(health.verdict(), unhealthy("it was told so"));
        drop(tell);
        assert!(timeout(SECOND, health.changed()).await.is_err());
        assert_eq!(health.verdict(), unhealthy("it was told so"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_is_told_in_quick_succession_the_last_counts() {
        let (tell, told) = watch::channel(true);
        let mut health = Health::observe(Some(told.into()));
        health.changed().await;
        assert_eq!(health.verdict(), Verdict::Healthy);
        for turn in 0..1_000 {
            tell.send_replace(turn % 2 == 0);
            tokio::task::yield_now().await;
            assert!(health.changed().now_or_never().is_none(), "turn {turn}");
        }
        health.changed().await;
        assert_eq!(health.verdict(), unhealthy("it was told so"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_once_the_observation_has_ended() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let health = Health::observe(Some(HealthCheck::new(move || {
            let held = Arc::clone(&held);
            async move {
                pending::<()>().await;
                drop(held);
                Ok::<_, Cause>(())
            }
        })));
        tokio::task::yield_now().await;
        assert!(Arc::strong_count(&alive) > 1);
        drop(health);
        sleep(SECOND).await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
