//! The journal of a store in memory.

use registry_core::ServiceName;
use registry_memory::JournalItem;

use super::ledger::Ledger;
use crate::chaos::client::{change, entry, position};
use crate::chaos::history::Position;

/// Writes down what the journal says of a service.
pub(super) fn write(journal: &[JournalItem], service: &ServiceName, ledger: &mut Ledger) {
    for item in journal {
        match item {
            JournalItem::Began { epoch, entries, .. } => {
                let of_service = entries.iter().filter(|entry| entry.instance().service() == service);
                let listed: Vec<_> = of_service.map(|one| entry(one)).collect();
                let revision = listed.iter().filter_map(|one| one.modified).max().unwrap_or_default();
                ledger.list(Position { epoch: epoch.get(), revision }, listed);
            }
            JournalItem::Changed { service: of, batch, .. } if of == service => {
                for one in batch.changes.iter().filter_map(change) {
                    ledger.change(position(batch.cursor).revision, one);
                }
            }
            _ => {}
        }
    }
}
