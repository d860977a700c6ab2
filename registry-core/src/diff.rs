//! The differences between two snapshots.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::name::InstanceId;
use crate::snapshot::{Entry, Snapshot};

/// One instance that differs between two snapshots. An instance that changed in anything, weight and metadata included, is
/// [`Changed`](Difference::Changed).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// Only in the newer snapshot.
    Added(Arc<Entry>),
    /// In both, not the same.
    Changed {
        /// As it was.
        old: Arc<Entry>,
        /// As it is.
        new: Arc<Entry>,
    },
    /// Only in the older snapshot.
    Removed(Arc<Entry>),
}

impl Difference {
    /// The instance.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        match self {
            Self::Added(entry) | Self::Removed(entry) => entry.id(),
            Self::Changed { new, .. } => new.id(),
        }
    }
}

/// What changed from `old` (`None`: nothing was known) to `new`, ordered by id. What the snapshots share is skipped, so
/// the time grows with the number of changes between versions of one view.
#[must_use]
pub fn diff(old: Option<&Snapshot>, new: &Snapshot) -> Vec<Difference> {
    let Some(old) = old else {
        return new.iter().map(|entry| Difference::Added(Arc::clone(entry))).collect();
    };
    let difference = |item| match item {
        DiffItem::Add(_, entry) => Difference::Added(Arc::clone(entry)),
        DiffItem::Remove(_, entry) => Difference::Removed(Arc::clone(entry)),
        DiffItem::Update { old: (_, old), new: (_, new) } => {
            Difference::Changed { old: Arc::clone(old), new: Arc::clone(new) }
        }
    };
    old.entries().diff(new.entries()).map(difference).collect()
}
