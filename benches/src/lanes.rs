//! How long operations take, one after the other or several at a time.

use std::future::Future;
use std::time::Duration;

use comparisons::experiment::Trouble;
use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Who does one operation after the other.
pub trait Lane: Send + 'static {
    /// One operation.
    fn step(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// How long so many operations took.
#[derive(Clone, Debug)]
pub struct Timed {
    /// All of them, from the begin of the first to the end of the last.
    pub elapsed: Duration,
    /// Each, in nanoseconds.
    pub latencies: Histogram<u64>,
}

impl Timed {
    /// All of the time, divided by the operations, in microseconds.
    #[must_use]
    pub fn each_us(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    /// What the share `quantile` of them did not exceed, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// A histogram that holds any time to three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // Three digits are allowed, and it grows with what it is given.
    #[expect(clippy::unwrap_used, reason = "fails for more than five digits only")]
    Histogram::new(3).unwrap()
}

/// Adds a duration to a histogram, which counts in nanoseconds.
pub fn note(latencies: &mut Histogram<u64>, duration: Duration) {
    // It grows with what it is given; `saturating_record` would cut off what it has no room for yet.
    let _ = latencies.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// Lets all lanes take `steps` steps at the same time, each in a task of its own, as the users of a client are.
///
/// # Errors
/// What a step runs into.
pub async fn run<L: Lane>(lanes: Vec<L>, steps: usize) -> Result<(Timed, Vec<L>), Trouble> {
    let start = Instant::now();
    let tasks: Vec<_> = lanes.into_iter().map(|lane| tokio::spawn(walk(lane, steps))).collect();
    let (mut lanes, mut latencies, mut end) = (Vec::with_capacity(tasks.len()), histogram(), start);
    for task in tasks {
        let (lane, of_lane, ended) = task.await.map_err(|error| Trouble::Failed(Box::new(error)))??;
        lanes.push(lane);
        latencies += of_lane;
        end = end.max(ended);
    }
    Ok((Timed { elapsed: end - start, latencies }, lanes))
}

async fn walk<L: Lane>(mut lane: L, steps: usize) -> Result<(L, Histogram<u64>, Instant), Trouble> {
    let mut latencies = histogram();
    let mut now = Instant::now();
    for _ in 0..steps {
        let begun = now;
        lane.step().await?;
        now = Instant::now();
        note(&mut latencies, now - begun);
    }
    Ok((lane, latencies, now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use comparisons::experiment::Trouble;
    use tokio::time::sleep;

    use super::{Lane, run};

    struct Sleeper(Duration);

    impl Lane for Sleeper {
        async fn step(&mut self) -> Result<(), Trouble> {
            sleep(self.0).await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_run_side_by_side_and_every_step_is_counted() {
        let lanes = vec![Sleeper(Duration::from_millis(10)), Sleeper(Duration::from_millis(20))];
        let (timed, lanes) = run(lanes, 4).await.unwrap();
        assert_eq!((lanes.len(), timed.latencies.len()), (2, 8));
        // A sleep ends up to 1 ms late: the clock of the runtime counts in these.
        let is = |found: f64, least: f64, most: f64| assert!((least..=most).contains(&found), "{found}");
        is(timed.elapsed.as_secs_f64(), 0.080, 0.084);
        is(timed.each_us(), 10_000.0, 10_500.0);
        is(timed.quantile_us(0.99), 19_980.0, 21_020.0);
        is(timed.quantile_us(0.5), 9_990.0, 11_010.0);
    }

    struct Failing;

    impl Lane for Failing {
        async fn step(&mut self) -> Result<(), Trouble> {
            Err(Trouble::failed("refused"))
        }
    }

    #[tokio::test]
    async fn a_step_that_fails_is_no_short_step() {
        assert_eq!(
            run(vec![Failing], 4).await.err().map(|error| error.to_string()),
            Some("refused".to_owned())
        );
    }
}
