//! What this client wrote last under each of its leases: by it an overwrite, and a restored older value, are noticed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use registry_core::codec::Stored;
use registry_core::{Incarnation, OwnerToken, Revision, Ttl};
use tokio::time::Instant;

/// The last write under a lease.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Its revision; `None` while a later write is under way or ended without an answer.
    pub(crate) modified: Option<i64>,
    pub(crate) incarnation: Incarnation,
    pub(crate) token: OwnerToken,
    pub(crate) registered: Revision,
    /// The key beside the guard.
    pub(crate) beside: Option<String>,
    pub(crate) ttl: Ttl,
    /// When it was last used.
    pub(crate) used: Instant,
}

impl Written {
    /// What is to be stored when `stored` is the next value.
    pub(crate) fn owner_of(&self, instance: &registry_core::Instance) -> Stored {
        Stored::new(instance.clone(), self.incarnation, self.token).with_registered(self.registered)
    }
}

/// By lease. What was not used for two TTLs is forgotten: its lease is over.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    written: BTreeMap<i64, Written>,
    /// When there are so many, those that are over are looked for.
    sweep_at: usize,
}

impl HeldLeases {
    pub(crate) fn get(&self, lease: i64) -> Option<Written> {
        self.with(|state| {
            let written = state.written.get_mut(&lease)?;
            written.used = Instant::now();
            Some(written.clone())
        })
    }

    pub(crate) fn put(&self, lease: i64, written: Written) {
        self.with(|state| {
            state.written.insert(lease, written);
            if state.written.len() > state.sweep_at {
                let now = Instant::now();
                state.written.retain(|_, written| now - written.used < written.ttl.get() * 2);
                state.sweep_at = (state.written.len() * 2).max(64);
            }
        });
    }

    /// A write is under way: until it is acknowledged, the revision is not known.
    pub(crate) fn doubt(&self, lease: i64) {
        self.with(|state| {
            if let Some(written) = state.written.get_mut(&lease) {
                written.modified = None;
            }
        });
    }

    pub(crate) fn forget(&self, lease: i64) {
        self.with(|state| state.written.remove(&lease));
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leases_that_nobody_uses_are_forgotten() {
        let held = HeldLeases::default();
        let written = || Written {
            modified: Some(1),
            incarnation: Incarnation::new(1),
            token: OwnerToken::from_u128(1),
            registered: Revision::new(1),
            beside: None,
            ttl: Ttl::from_secs(10).unwrap(),
            used: Instant::now(),
        };
        for lease in 0..100 {
            held.put(lease, written());
        }
        tokio::time::advance(std::time::Duration::from_secs(15)).await;
        assert!(held.get(7).is_some());
        tokio::time::advance(std::time::Duration::from_secs(15)).await;
        for lease in 100..300 {
            held.put(lease, written());
        }
        assert!(held.get(7).is_some(), "it was used within two TTLs");
        assert!(held.get(8).is_none());
    }
}
