//! Picking in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Picks the candidates in turn. The turn is kept by position, so it is even while the candidates stay, and shifts when they
/// change.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: AtomicUsize,
}

impl RoundRobin {
    /// Starts at position `start`; clients that start elsewhere do not all begin with the same candidate.
    #[must_use]
    pub const fn starting_at(start: usize) -> Self {
        Self { turn: AtomicUsize::new(start) }
    }

    /// The index of the next of `candidates`.
    pub fn pick<T>(&self, candidates: &[T]) -> Option<usize> {
        self.next().checked_rem(candidates.len())
    }

    /// The number of the next turn, for who has a policy of its own; it wraps around.
    pub fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_candidate_comes_once_in_a_round() {
        let turns = RoundRobin::starting_at(1);
        let picks: Vec<_> = (0..6).filter_map(|_| turns.pick(&['a', 'b', 'c'])).collect();
        assert_eq!(picks, [1, 2, 0, 1, 2, 0]);
        assert_eq!(turns.pick::<u8>(&[]), None);
    }
}
