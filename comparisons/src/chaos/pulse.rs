//! Whether the machine lets its processes run: what a run shows while it does not is the machine's, and not the registry's.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::history::At;
use super::recorder::Clock;

/// How often it is felt.
const BEAT: Duration = Duration::from_millis(10);
/// Less than this is usual, and not kept.
const USUAL: Duration = Duration::from_millis(20);

/// A thread that wakes every 10 ms, and notes when it was woken late. It ends when this is dropped.
#[derive(Debug)]
pub struct Pulse {
    clock: Clock,
    stalls: Arc<Mutex<Vec<Stall>>>,
    /// The thread ends when this does.
    _over: Sender<()>,
}

/// That the thread was woken late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    at: At,
    late: Duration,
}

impl Pulse {
    /// Feels it from now on.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start() -> io::Result<Self> {
        let (sender, over) = channel();
        let pulse = Self { clock: Clock::start(), stalls: Arc::default(), _over: sender };
        let (clock, stalls) = (pulse.clock, Arc::clone(&pulse.stalls));
        thread::Builder::new().name("pulse".to_owned()).spawn(move || {
            let mut last = clock.now();
            while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(BEAT) {
                let at = clock.now();
                let late = Duration::from_micros(at.0.saturating_sub(last.0)).saturating_sub(BEAT);
                if late > USUAL {
                    stalls.lock().unwrap_or_else(PoisonError::into_inner).push(Stall { at, late });
                }
                last = at;
            }
        })?;
        Ok(pulse)
    }

    /// The time, for [`late_since`](Self::late_since).
    #[must_use]
    pub fn now(&self) -> At {
        self.clock.now()
    }

    /// For how long processes stood still since `at`, at the longest.
    #[must_use]
    pub fn late_since(&self, at: At) -> Duration {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        worst(&stalls, at)
    }
}

fn worst(stalls: &[Stall], since: At) -> Duration {
    stalls.iter().filter(|stall| stall.at >= since).map(|stall| stall.late).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_since_counts() {
        let stall = |at, ms| Stall { at: At(at), late: Duration::from_millis(ms) };
        let stalls = [stall(10, 900), stall(20, 100), stall(30, 50)];
        assert_eq!(worst(&stalls, At(0)), Duration::from_millis(900));
        assert_eq!(worst(&stalls, At(15)), Duration::from_millis(100));
        assert_eq!(worst(&stalls, At(31)), Duration::ZERO);
    }
}
