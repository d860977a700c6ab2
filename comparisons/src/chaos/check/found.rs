//! What is found to be broken.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chaos::history::At;

/// A promise that a history can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Invariant {
    /// Revisions never fall, also across resets.
    I1,
    /// No change is told twice between two resets.
    I2,
    /// One revision is never split over two items.
    I3,
    /// What is told is what happened: no two sources say different things of one revision.
    I4,
    /// A resumed watch goes on with the first later change, or says why not.
    I5,
    /// Nothing at or below r comes after a bookmark r.
    I6,
    /// What was missed was said to be missed. Silent loss is the worst.
    I7,
    /// After faults end, every watch and view equals the final list.
    I8,
    /// What is not renewed is gone within its bound.
    I9,
    /// What is renewed stays.
    I10,
    /// What is registered and renewing is in the final list, with its last value.
    I11,
    /// An old incarnation changes nothing of a newer one.
    I12,
    /// While the registry is away, a view keeps its last good set.
    I13,
    /// Who means to be listed is listed again after faults end.
    I14,
    /// Silence surfaces as `Stale`.
    I15,
    /// A consumer that does not read costs bounded memory.
    I16,
    /// Writes and lookups happen in one order, which real time agrees with.
    I17,
}

impl Invariant {
    /// Whether it is broken or not, however long anybody was kept waiting: also on a machine that let processes stand still.
    #[must_use]
    pub fn is_timeless(self) -> bool {
        matches!(
            self,
            Self::I1
                | Self::I2
                | Self::I3
                | Self::I4
                | Self::I5
                | Self::I6
                | Self::I7
                | Self::I12
                | Self::I17
        )
    }

    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
    ];

    /// Its number: 7 is I7.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// As it is written in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1 ordered",
            Self::I2 => "I2 unique",
            Self::I3 => "I3 atomic",
            Self::I4 => "I4 reliable",
            Self::I5 => "I5 resumable",
            Self::I6 => "I6 bookmark",
            Self::I7 => "I7 honest gap",
            Self::I8 => "I8 convergence",
            Self::I9 => "I9 no ghost",
            Self::I10 => "I10 no flap",
            Self::I11 => "I11 acknowledged kept",
            Self::I12 => "I12 fencing",
            Self::I13 => "I13 static stability",
            Self::I14 => "I14 self-heal",
            Self::I15 => "I15 fresh",
            Self::I16 => "I16 bounded",
            Self::I17 => "I17 linearizable",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a violation counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A promise is broken.
    Broken,
    /// Acknowledged writes were lost where the registry never said that they are kept, and everybody was told of the gap.
    Allowed,
    /// The registry never promised it: shown, and no more.
    Observed,
}

/// That a history breaks an invariant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What it counts for.
    pub standing: Standing,
    /// In words.
    pub what: String,
    /// When it showed.
    pub at: At,
    /// About which instance, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which lines of the history show it, by index, ascending.
    pub lines: Vec<usize>,
}

/// So many violations of one invariant are kept until it is known what they count for. A defect that is allowed at first must not hide one that is not.
const GATHERED: usize = 5_000;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) violations: Vec<Violation>,
    of_each: BTreeMap<(Invariant, Standing), usize>,
}

impl Found {
    /// A promise is broken.
    pub(super) fn broken<'l>(
        &mut self,
        invariant: Invariant,
        at: At,
        id: impl Into<Option<&'l str>>,
        lines: &[usize],
        what: impl FnOnce() -> String,
    ) {
        self.push(invariant, Standing::Broken, at, id.into(), lines, what);
    }

    /// Something that counts as `standing`. Words are made only for what is kept.
    pub(super) fn push(
        &mut self,
        invariant: Invariant,
        standing: Standing,
        at: At,
        id: Option<&str>,
        lines: &[usize],
        what: impl FnOnce() -> String,
    ) {
        let count = self.of_each.entry((invariant, standing)).or_default();
        *count += 1;
        if *count > GATHERED {
            return;
        }
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        lines.dedup();
        let id = id.map(str::to_owned);
        self.violations.push(Violation { invariant, standing, what: what(), at, id, lines });
    }
}
