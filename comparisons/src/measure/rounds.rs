//! Whose turn it is.

/// A plan in which all arms take a turn in each round, in an order that is reversed from round to round (`ABC CBA ABC …`): what drifts, or comes
/// and goes, falls on all of them alike.
///
/// A turn that did not count is taken again at once, up to three times, as long as there are spare ones: as many as there are turns.
#[derive(Clone, Debug)]
pub struct Rounds {
    arms: usize,
    first: u32,
    taken: u32,
    turns: u32,
    spare: u32,
    again: u32,
}

/// So often a turn is taken again: a machine that is busy now must not use up what is spare.
const MOST_AGAIN: u32 = 3;

/// One block to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose, from 0.
    pub arm: usize,
    /// In which round.
    pub round: u32,
}

impl Rounds {
    /// So many rounds of so many arms; the first round has the number `first`.
    #[must_use]
    pub fn new(arms: usize, first: u32, rounds: u32) -> Self {
        let turns = u32::try_from(arms).unwrap_or(u32::MAX).saturating_mul(rounds);
        Self { arms, first, taken: 0, turns, spare: turns, again: 0 }
    }

    /// The next turn, if not all have been taken.
    #[must_use]
    pub fn next(&self) -> Option<Turn> {
        if self.taken >= self.turns {
            return None;
        }
        let taken = self.taken as usize;
        let (round, place) = (taken / self.arms, taken % self.arms);
        let arm = if round.is_multiple_of(2) { place } else { self.arms - 1 - place };
        Some(Turn { arm, round: self.first + u32::try_from(round).unwrap_or(u32::MAX) })
    }

    /// That turn was taken, and whether it counts.
    pub fn taken(&mut self, counts: bool) {
        if counts || self.spare == 0 || self.again == MOST_AGAIN {
            self.taken += 1;
            self.again = 0;
        } else {
            self.spare -= 1;
            self.again += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    fn play(mut rounds: Rounds, counts: impl Fn(usize) -> bool) -> Vec<(usize, u32)> {
        let mut played = Vec::new();
        while let Some(turn) = rounds.next() {
            rounds.taken(counts(played.len()));
            played.push((turn.arm, turn.round));
        }
        played
    }

    #[test]
    fn the_order_is_reversed_from_round_to_round() {
        let played = play(Rounds::new(2, 5, 3), |_| true);
        assert_eq!(played, [(0, 5), (1, 5), (1, 6), (0, 6), (0, 7), (1, 7)]);
    }

    #[test]
    fn a_turn_that_did_not_count_is_taken_again() {
        let played = play(Rounds::new(2, 0, 2), |turn| turn != 1 && turn != 2);
        assert_eq!(played, [(0, 0), (1, 0), (1, 0), (1, 0), (1, 1), (0, 1)]);
    }

    #[test]
    fn it_ends_where_nothing_counts() {
        let played = play(Rounds::new(3, 0, 4), |_| false);
        assert_eq!(played.len(), 3 * 4 * 2);
        assert!(played.starts_with(&[(0, 0), (0, 0), (0, 0), (0, 0), (1, 0)]), "{played:?}");
        assert!(play(Rounds::new(0, 0, 4), |_| true).is_empty());
    }
}
