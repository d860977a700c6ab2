//! What others wrote and nobody can read: told in the log once for each value, however often it is read.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use registry_core::{Error, ServiceName};

/// So many are remembered; then they are told anew.
const REMEMBERED: usize = 1_024;

/// The malformed values that were told: a hash of each, by service and id.
#[derive(Debug, Default)]
pub(crate) struct Malformed {
    told: Mutex<BTreeMap<(ServiceName, String), u64>>,
}

impl Malformed {
    /// Tells that the value of `id` cannot be read.
    pub(crate) fn tell(&self, service: &ServiceName, id: &str, value: &[u8], error: &Error) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let hash = hasher.finish();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (service.clone(), id.to_owned());
        if told.get(&key) == Some(&hash) {
            return;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(key, hash);
        drop(told);
        tracing::warn!(%service, id, %error, "skipped a malformed entry");
    }
}
