//! What others wrote and nobody can read: told in the log once for each value, however often it is read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use etcd_client::KeyValue;
use registry_core::ServiceName;

use crate::layout::{Codec, Item, read};

/// So many keys are remembered; then they are told anew.
const REMEMBERED: usize = 1_024;

/// The malformed values that were told, by key and revision.
#[derive(Debug, Default)]
pub(crate) struct Malformed {
    told: Mutex<BTreeMap<Vec<u8>, i64>>,
}

impl Malformed {
    /// Reads one key of `service`, and tells if it cannot be read.
    pub(crate) fn read(&self, codec: &dyn Codec, service: &ServiceName, kv: &KeyValue) -> Item {
        let item = read(codec, service, kv);
        if let Item::Malformed(id, error) = &item
            && self.is_new(kv)
        {
            tracing::warn!(%service, %id, %error, revision = kv.mod_revision(), "skipped a malformed entry");
        }
        item
    }

    fn is_new(&self, kv: &KeyValue) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(kv.key()) == Some(&kv.mod_revision()) {
            return false;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(kv.key().to_vec(), kv.mod_revision());
        true
    }
}
