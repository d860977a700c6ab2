//! What a cell of the matrix came to.

use serde::{Deserialize, Serialize};

/// What a cell of the matrix came to; ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// All invariants hold, and no watch had a gap.
    Survived,
    /// All invariants hold; a watch had a gap, said so, and converged.
    Degraded,
    /// It did not come back within its time after the fault was healed.
    Down,
    /// An invariant is broken.
    Violated,
    /// A checker ran out of time.
    Unknown,
    /// The fault did not provably bite, or the machine was too slow to tell: it says nothing.
    Invalid,
}
