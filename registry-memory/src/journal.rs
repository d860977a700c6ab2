//! Everything that ever changed in a store, for tests that compare what others saw with what was.

use std::sync::Arc;

use registry_core::{Batch, Entry, Epoch, ServiceName};
use tokio::time::Instant;

/// Something that happened in a store. Never dropped by compaction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JournalItem {
    /// An epoch began, with these entries: none after a wipe, those of the backup after a restore.
    Began {
        /// When.
        at: Instant,
        /// The new epoch.
        epoch: Epoch,
        /// What the store holds.
        entries: Vec<Arc<Entry>>,
    },
    /// A service changed.
    Changed {
        /// When.
        at: Instant,
        /// The service.
        service: ServiceName,
        /// The changes of one revision.
        batch: Batch,
    },
}
