//! Takes lines from many tasks, each with the time of one clock that all processes of the machine share.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::history::{At, Line, Note};

/// The clock of a run: the machine's monotonic one, counted from when the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Clock {
    /// When the run began, in microseconds of the machine's clock.
    base: u64,
}

impl Clock {
    /// A run begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { base: machine() }
    }

    /// The time.
    #[must_use]
    pub fn now(self) -> At {
        At(machine().saturating_sub(self.base))
    }

    /// When `then` was; 0 if that is before the run began. After a pause of the process it is right too.
    #[must_use]
    pub fn at(self, then: Instant) -> At {
        let ago = Instant::now().saturating_duration_since(then);
        At(self.now().0.saturating_sub(micros(ago)))
    }

    /// Waits until `at`; not at all if that is over.
    pub async fn until(self, at: At) {
        sleep(Duration::from_micros(at.0.saturating_sub(self.now().0))).await;
    }
}

/// Microseconds of the machine's monotonic clock.
fn machine() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000 + nanos.unwrap_or_default() / 1_000
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Takes lines, and tells the time. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    lines: UnboundedSender<Line>,
}

impl Recorder {
    /// One that takes lines, and where they are given out in the order in which they were taken.
    #[must_use]
    pub fn new(clock: Clock) -> (Self, Recording) {
        let (sender, receiver) = unbounded_channel();
        (Self { clock, lines: sender }, Recording { lines: receiver })
    }

    /// The clock of the run.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> At {
        self.clock.now()
    }

    /// Takes a line. After the [`Recording`] was dropped there is nobody to take it.
    pub fn write(&self, line: Line) {
        let _ = self.lines.send(line);
    }

    /// Takes down what else is to be known now.
    pub fn note(&self, what: impl Into<String>, figure: Option<f64>) {
        self.write(Line::Note(Note { at: self.now(), what: what.into(), figure }));
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// What was taken down.
#[derive(Debug)]
pub struct Recording {
    lines: UnboundedReceiver<Line>,
}

impl Recording {
    /// The next line; none once nobody can write any more, or after [`close`](Self::close).
    pub async fn next(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// As [`next`](Self::next), on a thread that may wait.
    pub fn next_blocking(&mut self) -> Option<Line> {
        self.lines.blocking_recv()
    }

    /// What was taken down and not given out yet.
    pub fn drain(&mut self) -> Vec<Line> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }

    /// Takes no more; what was taken is still given out.
    pub fn close(&mut self) {
        self.lines.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Recorder};
    use tokio::time::Instant;

    #[tokio::test]
    async fn lines_of_many_tasks_are_all_given_out_and_their_times_never_fall() {
        let (recorder, mut recording) = Recorder::new(Clock::start());
        let task = |number: u32| {
            let recorder = recorder.clone();
            tokio::spawn(async move { (0..100).for_each(|_| recorder.note(number.to_string(), None)) })
        };
        for task in [0, 1, 2].map(task) {
            task.await.unwrap();
        }
        recording.close();
        let mut lines = Vec::new();
        while let Some(line) = recording.next().await {
            lines.push(line);
        }
        assert_eq!(lines.len(), 300);
        recorder.note("too late", None);
        assert!(recording.drain().is_empty());
    }

    #[test]
    fn a_clock_that_is_handed_over_tells_the_same_time() {
        let clock = Clock::start();
        let other: Clock = serde_json::from_str(&serde_json::to_string(&clock).unwrap()).unwrap();
        let (before, between, after) = (clock.now(), other.now(), clock.now());
        assert!(before <= between && between <= after);
        assert!(clock.at(Instant::now()) >= before);
    }
}
