//! Where in its history a store is: revision, epoch, and the cursor that joins them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A number that grows with every change. How far it can be compared is told by
/// [`Guarantees::revision_scope`](crate::Guarantees::revision_scope), and never beyond one [`Epoch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before every change.
    pub const ZERO: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stretch of history that revisions can be compared in. A wipe or a restore starts another one; two epochs are
/// either the same or have nothing to do with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with this identity.
    #[must_use]
    pub fn new(identity: u64) -> Self {
        Self(identity)
    }

    /// The identity.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Where a watch can go on from. Opaque: made by a backend, given back to the same backend for the same service. It
/// can be written down as text and parsed again, also by another process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    epoch: Epoch,
    revision: Revision,
    proof: u64,
}

impl Cursor {
    /// For backends: the state after `revision` in `epoch`. By `proof` the backend recognises that the history up to
    /// there is still the one this cursor came from.
    #[must_use]
    pub fn new(epoch: Epoch, revision: Revision, proof: u64) -> Self {
        Self { epoch, revision, proof }
    }

    /// The stretch of history it belongs to.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The last revision that it includes.
    #[must_use]
    pub fn revision(self) -> Revision {
        self.revision
    }

    /// The backend's own mark.
    #[must_use]
    pub fn proof(self) -> u64 {
        self.proof
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{:016x}", self.epoch.0, self.revision, self.proof)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut parts = text.split('-');
            let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
            let revision = parts.next()?.parse().ok()?;
            let proof = u64::from_str_radix(parts.next()?, 16).ok()?;
            parts.next().is_none().then_some(Self::new(Epoch(epoch), Revision(revision), proof))
        };
        parse().ok_or_else(|| {
            Error::invalid("cursor", format!("{text:?} is not a cursor: epoch-revision-proof"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_written_down() {
        let cursor = Cursor::new(Epoch::new(u64::MAX), Revision::new(42), 7);
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for bad in ["", "1", "1-2", "1-2-3-4", "x-2-3", "1-x-3", "1-2-x", "1--3"] {
            assert_eq!(bad.parse::<Cursor>().expect_err(bad).field(), Some("cursor"));
        }
    }
}
