//! When what is sent, and a thread that keeps to it.

use std::ops::ControlFlow;
use std::time::Duration;

use rustix::process::nice;
use tokio::time::Instant;

/// Send times at a steady rate, fixed before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Between two sends.
    pub interval: Duration,
    /// How many there are.
    pub sends: u32,
}

/// Before all others, of the system's priorities of a thread.
const FIRST: i32 = -20;

/// So long before a send the thread stops sleeping and spins: a sleeper is woken some 50 µs late.
const SPIN: Duration = Duration::from_micros(100);

impl Schedule {
    /// So many sends at `per_second`, 1 or more.
    #[must_use]
    pub fn new(per_second: u32, sends: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), sends }
    }

    /// When a send is due, after the start; the first at once.
    #[must_use]
    pub fn due(&self, send: u32) -> Duration {
        self.interval * send
    }

    /// How long all take.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.interval * self.sends
    }

    /// Calls `send` with the number of each send, at its time after `start`, until it breaks off. It never leaves one out: what is late is called at
    /// once. Blocks; to be run on a thread of its own, since the timers of the runtime are too coarse. That thread goes before all others where the
    /// system allows it, so that it need not wait for a core until whom it measures leaves one.
    pub fn keep(&self, start: Instant, mut send: impl FnMut(u32) -> ControlFlow<()>) {
        // Where it is not allowed, sends slip more often, and the block is thrown away.
        let _ = nice(FIRST);
        for number in 0..self.sends {
            wait_until(start + self.due(number));
            if send(number).is_break() {
                return;
            }
        }
    }
}

fn wait_until(due: Instant) {
    let early = due.saturating_duration_since(Instant::now()).saturating_sub(SPIN);
    if !early.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "on a thread of its own")]
        std::thread::sleep(early);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Schedule;

    #[test]
    fn send_times_are_fixed_before_anything_is_sent() {
        let schedule = Schedule::new(200, 100);
        assert_eq!((schedule.due(0), schedule.due(3)), (Duration::ZERO, Duration::from_millis(15)));
        assert_eq!(schedule.length(), Duration::from_millis(500));
    }

    #[test]
    fn nothing_is_sent_early_and_nothing_is_left_out() {
        let schedule = Schedule::new(1_000, 20);
        // As when the sender was held up: half of it is due already.
        let start = Instant::now() - Duration::from_millis(10);
        let mut sent = Vec::new();
        schedule.keep(start, |number| {
            sent.push((number, start.elapsed()));
            ControlFlow::Continue(())
        });
        assert!(sent.iter().map(|(number, _)| *number).eq(0..20));
        assert!(sent.iter().all(|(number, at)| *at >= schedule.due(*number)), "{sent:?}");
    }

    #[test]
    fn it_stops_when_nobody_wants_more() {
        let mut sent = 0;
        Schedule::new(1_000_000, 20).keep(Instant::now(), |_| {
            sent += 1;
            if sent == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(sent, 5);
    }
}
