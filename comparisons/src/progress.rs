//! How far a long run is, and how long it still takes: a bar on a terminal, lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Of a plan of steps, each with the seconds that it is expected to take.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    steps: usize,
    begun: usize,
    pace: Pace,
}

/// How fast it goes, compared with what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    expected: f64,
    took: f64,
    left: f64,
}

impl Pace {
    fn done(&mut self, expected: f64, took: f64) {
        self.expected += expected;
        self.took += took;
        self.left -= expected;
    }

    /// The seconds that are left, at the pace so far. A few steps say little, so the plan has the weight of one minute.
    fn left(self) -> f64 {
        const PLAN: f64 = 60.0;
        (self.left * (self.took + PLAN) / (self.expected + PLAN)).max(0.0)
    }
}

/// A time that is only roughly known: `99 s`, from 100 s `2 min`.
#[must_use]
pub fn minutes(seconds: f64) -> String {
    match seconds.max(0.0).ceil() as u64 {
        0..100 => format!("{:.0} s", seconds.max(0.0).ceil()),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

impl Progress {
    /// Of steps that are expected to take so many seconds each. On a terminal, its bar is shown from now on.
    pub fn new(expected: impl IntoIterator<Item = f64>) -> Self {
        let expected: Vec<f64> = expected.into_iter().collect();
        let left = expected.iter().sum();
        let bar = ProgressBar::with_draw_target(Some((left * 10.0) as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:24}] {msg}") {
            bar.set_style(style);
        }
        let is_terminal = !bar.is_hidden();
        bar.enable_steady_tick(Duration::from_secs(1));
        Self {
            bar,
            is_terminal,
            steps: expected.len(),
            begun: 0,
            pace: Pace { expected: 0.0, took: 0.0, left },
        }
    }

    /// The next step begins: what is done in it.
    pub fn begin(&mut self, what: &str) {
        self.begun += 1;
        let left = minutes(self.pace.left());
        self.say_or_show(format!("step {} of {}, {left} left: {what}", self.begun, self.steps));
    }

    /// A step is done, of which that was expected, and that many seconds it took.
    pub fn done(&mut self, expected: f64, took: f64) {
        self.pace.done(expected, took);
        self.bar.inc((expected * 10.0) as u64);
    }

    /// A line that stays.
    #[expect(clippy::print_stderr, reason = "this is what a terminal is for")]
    pub fn say(&self, line: &str) {
        if self.is_terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    fn say_or_show(&self, message: String) {
        if self.is_terminal {
            self.bar.set_message(message);
        } else {
            self.say(&message);
        }
    }

    /// The bar is taken away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, minutes};

    #[test]
    fn the_time_left_follows_the_pace() {
        let mut pace = Pace { expected: 0.0, took: 0.0, left: 600.0 };
        assert_eq!(pace.left(), 600.0);
        pace.done(300.0, 600.0);
        assert!((pace.left() - 550.0).abs() < 1.0, "{}", pace.left());
        assert_eq!(minutes(98.5), "99 s");
        assert_eq!(minutes(100.0), "2 min");
        assert_eq!(minutes(550.0), "10 min");
    }
}
