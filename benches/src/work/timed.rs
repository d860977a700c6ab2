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

impl<T, F: FnMut() -> Option<T> + Send> Timed<F> {
    /// So many times in a block. What it gives counts as used, and nothing is a failure, since to do nothing is fast; its inputs are hidden from the compiler by itself.
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
impl<T, F: FnMut() -> Option<T> + Send> Arm for Timed<F> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let start = Instant::now();
        let mut in_vain = 0;
        for _ in 0..self.times {
            in_vain += u32::from(black_box((self.op)()).is_none());
        }
        let took = start.elapsed();
        if in_vain > 0 {
            return Err(Trouble::failed(format!("{in_vain} of {} times it had nothing to give", self.times)));
        }
        Ok(vec![("each_ns", each_ns(took, self.times))])
    }
}

/// How long one of so many took.
#[must_use]
pub fn each_ns(all: Duration, times: u32) -> f64 {
    all.as_secs_f64() * 1e9 / f64::from(times)
}

#[cfg(test)]
mod tests {
    use super::Timed;
    use crate::contest::Arm;

    #[tokio::test]
    async fn what_gives_nothing_even_once_has_no_time() {
        let every = Timed::new(100, || Some(1)).play().await.unwrap();
        assert_eq!(every[0].0, "each_ns");
        let mut number = 0;
        let once_not = Timed::new(100, || {
            number += 1;
            (number != 7).then_some(number)
        });
        let trouble = { once_not }.play().await.unwrap_err().to_string();
        assert!(trouble.contains("1 of 100 times"), "{trouble}");
    }
}
