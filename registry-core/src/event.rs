//! What a watch tells.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::name::InstanceId;
use crate::snapshot::{Entry, Snapshot};

/// An item of a [`Watch`](crate::Watch). The promises that bind the sequence of items are W1 to W10 of
/// [`Registry::watch`](crate::Registry::watch).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WatchEvent {
    /// All instances, anew: replaces whatever was known before.
    Reset {
        /// The instances at its cursor.
        snapshot: Snapshot,
        /// Why the changes since the last item could not be told one by one.
        cause: ResetCause,
    },
    /// All changes of one revision.
    Changes(Batch),
    /// Nothing changed up to `cursor`, and the watch was current when this was made.
    Progress {
        /// Where a watch can go on from.
        cursor: Cursor,
    },
    /// The registry cannot be reached, or has been silent for too long. Nothing is known to have changed; the last known
    /// instances remain the best guess.
    Stale {
        /// When the watch was last known to be current.
        since: Instant,
        /// What is wrong.
        error: Error,
    },
    /// After `Stale`, or after resuming from a cursor: the watch is proven current again.
    Live {
        /// Where a watch can go on from.
        cursor: Cursor,
    },
}

impl WatchEvent {
    /// Where a watch can go on from after this item; `None` for [`WatchEvent::Stale`], which does not move it.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Reset { snapshot, .. } => Some(snapshot.cursor()),
            Self::Changes(batch) => Some(batch.cursor),
            Self::Progress { cursor } | Self::Live { cursor } => Some(*cursor),
            Self::Stale { .. } => None,
        }
    }
}

/// All changes of one revision to one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Where a watch can go on from after these changes.
    pub cursor: Cursor,
    /// The changes; each instance at most once.
    pub changes: Vec<Change>,
}

/// A change to one instance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The instance was registered, taken over or updated: this is its entry now.
    Put(Arc<Entry>),
    /// The instance is gone.
    Delete {
        /// Which instance.
        id: InstanceId,
        /// Why, as far as the backend can tell.
        cause: DeleteCause,
    },
}

impl Change {
    /// The instance that changed.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        match self {
            Self::Put(entry) => entry.id(),
            Self::Delete { id, .. } => id,
        }
    }
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeleteCause {
    /// Its owner deregistered it.
    Deregistered,
    /// Its lease ran out.
    Expired,
    /// The backend cannot tell.
    Unknown,
}

/// Why a [`WatchEvent::Reset`] was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetCause {
    /// The watch started without a cursor.
    First,
    /// The store dropped the history that was needed: compaction or trimming.
    Compacted,
    /// The consumer, or the path to it, was too slow for the changes.
    Overflow,
    /// The store was emptied, or is another store.
    Wiped,
    /// The store's history is not the one the cursor came from: restored from a backup, or a fail-over lost writes.
    Diverged,
    /// The backend cannot tell.
    Unknown,
}

impl ResetCause {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::First, Self::Compacted, Self::Overflow, Self::Wiped, Self::Diverged, Self::Unknown];

    /// The cause in one lower-case word, as a label of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Compacted => "compacted",
            Self::Overflow => "overflow",
            Self::Wiped => "wiped",
            Self::Diverged => "diverged",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ResetCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
