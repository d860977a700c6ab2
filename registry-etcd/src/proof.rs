//! How a cursor shows that the history up to it is the one it came from. Pure.
//!
//! A cursor remembers the last change at or before its revision: how far back it lies, and its hash. A resumed watch must deliver exactly that
//! change first. Of a service that was empty there may be none; then that it was empty at that revision must be true of the present history.

use registry_core::Cursor;

/// The change that a resumed watch must deliver first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) revision: u64,
    pub(crate) hash: u32,
    /// Whether it was a deletion, of which only a watch can tell.
    pub(crate) deletion: bool,
}

/// In a proof: the change was a deletion. Below it 31 bits of distance and 32 of hash.
const DELETION: u64 = 1 << 63;

impl Anchor {
    /// Of a cursor's proof.
    pub(crate) fn of(cursor: Cursor) -> Option<Self> {
        let (back, hash) = ((cursor.proof() & !DELETION) >> 32, cursor.proof() as u32);
        let revision = cursor.revision().get().checked_sub(back)?;
        (hash != 0).then_some(Self { revision, hash, deletion: cursor.proof() & DELETION != 0 })
    }

    /// The proof of a cursor at `at`; 0 where it would not fit, so that the cursor is not resumed.
    pub(crate) fn proof(self, at: u64) -> u64 {
        let back = at.saturating_sub(self.revision);
        if back >= 1 << 31 {
            return 0;
        }
        let deletion = if self.deletion { DELETION } else { 0 };
        deletion | back << 32 | u64::from(self.hash)
    }
}

/// The hash of a change, never 0.
pub(crate) fn hash(modified: u64, key: &[u8], value: &[u8]) -> u32 {
    let hash = fnv(&[&modified.to_be_bytes(), key, &[0], value]);
    ((hash ^ (hash >> 32)) as u32).max(1)
}

/// FNV-1a, because what it is used for is read by other builds.
pub(crate) fn fnv(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use registry_core::{Epoch, Revision};

    use super::*;

    #[test]
    fn an_anchor_survives_in_a_cursor() {
        for deletion in [false, true] {
            let anchor = Anchor { revision: 10, hash: 7, deletion };
            let cursor = |at: u64| Cursor::new(Epoch::new(1), Revision::new(at), anchor.proof(at));
            assert_eq!(Anchor::of(cursor(10)), Some(anchor));
            assert_eq!(Anchor::of(cursor(5_000)), Some(anchor));
            assert_eq!(Anchor::of(cursor(10 + (1 << 31))), None);
        }
    }

    #[test]
    fn revision_key_and_value_all_count() {
        assert_eq!(hash(1, b"a", b"b"), hash(1, b"a", b"b"));
        assert_ne!(hash(1, b"a", b"b"), hash(2, b"a", b"b"));
        assert_ne!(hash(1, b"a", b"b"), hash(1, b"ab", b""));
        assert_ne!(hash(1, b"a", b"b"), hash(1, b"a", b"c"));
    }
}
