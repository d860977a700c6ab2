//! Where the history of each service was seen to be, by which this client notices that it is another one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use registry_core::{Cursor, ServiceName};

/// So many services are remembered.
const REMEMBERED: usize = 100_000;

/// The last place seen, by service.
#[derive(Debug, Default)]
pub(crate) struct Store {
    seen: Mutex<BTreeMap<ServiceName, Cursor>>,
}

impl Store {
    /// The history of `service` is at `cursor`, or was a moment ago.
    pub(crate) fn saw(&self, service: &ServiceName, cursor: Cursor) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(service) {
            Some(at) if at.epoch() == cursor.epoch() && at.revision() > cursor.revision() => {}
            Some(at) => *at = cursor,
            None => {
                if seen.len() >= REMEMBERED {
                    seen.pop_first();
                }
                seen.insert(service.clone(), cursor);
            }
        }
    }

    /// The last place where the history of `service` was seen.
    pub(crate) fn seen(&self, service: &ServiceName) -> Option<Cursor> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(service).copied()
    }
}

/// Whether a history that is at `now` cannot be the one that was at `seen` before.
pub(crate) fn went_back(seen: Option<Cursor>, now: Cursor) -> bool {
    seen.is_some_and(|seen| {
        seen.epoch() == now.epoch()
            && (seen.revision() > now.revision()
                || seen.revision() == now.revision() && seen.proof() != now.proof())
    })
}
