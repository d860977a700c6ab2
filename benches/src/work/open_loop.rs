//! Calls at times that are fixed before anything is sent, whether or not those before were answered.
//!
//! Who waits for an answer before the next call does not call while the other side is slow, and so leaves out of its sample what it was to find ("coordinated
//! omission", Gil Tene, "How NOT to Measure Latency", 2013). Here each latency counts from the time at which its call was to be sent.

use std::future::Future;
use std::ops::ControlFlow;
use std::task::{Context, Waker};
use std::time::Duration;

use comparisons::experiment::Trouble;
use comparisons::measure::{Schedule, Tail};
use hdrhistogram::Histogram;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::lanes::{histogram, note};

/// Calls, and how many of them at the beginning do not count: what lay idle for a while is slow at first.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When they are sent.
    pub schedule: Schedule,
    /// How many of them do not count.
    pub warm_up: u32,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    /// From the intended time to the answer; what was not answered took longer than all others.
    pub answered: Tail,
    /// From the intended time until the call was begun: how well the schedule was kept.
    pub slip: Tail,
    /// How many were not answered.
    pub failed: usize,
    /// All that were answered, in nanoseconds.
    pub all: Histogram<u64>,
}

impl Latencies {
    /// As figures, in microseconds. One that falls upon a call without an answer is left out.
    #[must_use]
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let Tail { p50, p99, p999 } = self.answered;
        let all = [("p50_us", p50), ("p99_us", p99), ("p999_us", p999), ("slip_p99_us", self.slip.p99)];
        all.into_iter()
            .filter_map(|(name, figure)| Some((name, figure?)))
            .chain([("failed", self.failed as f64)])
            .collect()
    }
}

/// Between the order to start and the first send: what it takes to start a thread.
const LEAD: Duration = Duration::from_millis(5);
/// How long after the last send an answer is waited for.
const GRACE: Duration = Duration::from_secs(5);

struct Ended {
    slip: Duration,
    /// None where there was no answer.
    took: Option<Duration>,
}

/// Sends the calls from a thread of their own, each within `runtime`. Says of a call whether it was answered.
///
/// # Errors
/// What keeps a thread from being started.
pub async fn latencies<F>(
    runtime: &Handle,
    plan: Plan,
    mut call: impl FnMut() -> F + Send + 'static,
) -> Result<Latencies, Trouble>
where
    F: Future<Output = bool> + Send + 'static,
{
    let Plan { schedule, warm_up } = plan;
    let (told, mut endings) = mpsc::unbounded_channel();
    let (runtime, start) = (runtime.clone(), Instant::now() + LEAD);
    let send = move |number| {
        let due = start + schedule.due(number);
        let slip = due.elapsed();
        let (call, told) = (call(), told.clone());
        let mut call = Box::pin(async move {
            let took = call.await.then(|| due.elapsed());
            // Who was to be told has lost patience.
            let _ = told.send((number, Ended { slip, took }));
        });
        // Begun here and now, not when a thread of the runtime has been woken for it.
        let _inside = runtime.enter();
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(call);
        }
        ControlFlow::Continue(())
    };
    let thread = std::thread::Builder::new().name("open-loop".to_owned());
    thread.spawn(move || schedule.keep(start, send))?;

    let (mut slips, mut took) = (Vec::new(), Vec::new());
    let deadline = start + schedule.length() + GRACE;
    while let Ok(Some((number, ended))) = timeout_at(deadline, endings.recv()).await {
        if number >= warm_up {
            slips.push(Some(ended.slip));
            took.push(ended.took);
        }
    }
    took.resize(schedule.sends.saturating_sub(warm_up) as usize, None);
    let failed = took.iter().filter(|took| took.is_none()).count();
    let mut all = histogram();
    took.iter().flatten().for_each(|took| note(&mut all, *took));
    Ok(Latencies { all, answered: Tail::of(took), slip: Tail::of(slips), failed })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_call_that_has_to_wait_is_as_late_as_it_is_and_a_failed_one_is_the_latest() {
        let plan = Plan { schedule: Schedule::new(1_000, 200), warm_up: 100 };
        let mut number = 0_u32;
        let call = move || {
            number += 1;
            let number = number;
            async move {
                if number.is_multiple_of(4) {
                    sleep(Duration::from_millis(20)).await;
                }
                number != 151
            }
        };
        let latencies = latencies(&Handle::current(), plan, call).await.unwrap();
        assert_eq!((latencies.failed, latencies.all.len()), (1, 99));
        let (p50, p99) = (latencies.answered.p50.unwrap(), latencies.answered.p99.unwrap());
        assert!(p50 < p99 && p99 >= 20_000.0, "{latencies:?}");
        assert_eq!(latencies.answered.p999, None);
    }
}
