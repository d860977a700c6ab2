//! An entry as it lies in etcd: the stored bytes with the revisions around them. Pure.

use std::sync::Arc;

use etcd_client::KeyValue;
use registry_core::codec::Stored;
use registry_core::{Entry, Incarnation, OwnerToken, Revision};

use crate::keys::Keys;

/// What was found under a key.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The entry; `None` when it cannot be read.
    pub(crate) stored: Option<Stored>,
    pub(crate) modified: i64,
    pub(crate) lease: i64,
}

impl Found {
    pub(crate) fn new(kv: &KeyValue) -> Self {
        Self { stored: Stored::decode(kv.value()).ok(), modified: kv.mod_revision(), lease: kv.lease() }
    }

    /// The incarnation; the lowest for what a foreign writer put there.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.stored.as_ref().map(|stored| stored.incarnation).unwrap_or_default()
    }

    pub(crate) fn is_owned_by(&self, token: OwnerToken) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.token == token)
    }
}

/// The entry that a key and its value are; `None`, with a line in the log, when they cannot be read.
pub(crate) fn listed(keys: &Keys, kv: &KeyValue) -> Option<Arc<Entry>> {
    let (service, id) = keys.parse(kv.key())?;
    let stored = match Stored::decode(kv.value()) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(%service, %id, %error, "skipped a malformed entry");
            return None;
        }
    };
    if *stored.instance.service() != service || *stored.instance.id() != id {
        tracing::warn!(%service, %id, "skipped an entry that is of another service or instance");
        return None;
    }
    let modified = revision(kv.mod_revision());
    // Not the key's create revision: a takeover puts over the old entry.
    let created = stored.registered.unwrap_or(modified);
    Some(Arc::new(Entry::new(stored.instance, stored.incarnation, created, modified)))
}

/// etcd's revisions are positive.
pub(crate) fn revision(number: i64) -> Revision {
    Revision::new(u64::try_from(number).unwrap_or_default())
}
