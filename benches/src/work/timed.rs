//! Things that take nanoseconds: many of them in a row, with a clock around all.

use std::hint::black_box;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use tokio::time::Instant;

use crate::contest::Arm;

/// An arm that does the same thing over and over. Its figure is `each_ns`.
pub struct Timed<F> {
    times: u32,
    op: F,
}

impl<T, F: FnMut() -> T + Send> Timed<F> {
    /// So many times in a block. What it gives counts as used; its inputs are hidden from the compiler by itself.
    pub fn new(times: u32, op: F) -> Self {
        Self { times, op }
    }
}

impl<F> std::fmt::Debug for Timed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").field("times", &self.times).finish_non_exhaustive()
    }
}

#[async_trait]
impl<T, F: FnMut() -> T + Send> Arm for Timed<F> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let start = Instant::now();
        for _ in 0..self.times {
            black_box((self.op)());
        }
        Ok(vec![("each_ns", each_ns(start.elapsed(), self.times))])
    }
}

/// How long one of so many took.
#[must_use]
pub fn each_ns(all: Duration, times: u32) -> f64 {
    all.as_secs_f64() * 1e9 / f64::from(times)
}
