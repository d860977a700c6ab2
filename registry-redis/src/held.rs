//! What this client knows of its leases: the last write under each that was acknowledged, by which an older value that was put back is
//! noticed, and the order of its writes, by which an older one that arrives late is.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use registry_core::{InstanceId, Lease, ServiceName, Ttl};
use tokio::time::Instant;

/// By lease. What was not used for two TTLs is forgotten: its lease is over.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<Key, Held>,
    /// When there are so many, those that are over are looked for.
    sweep_at: usize,
}

/// A lease, whichever incarnation it is of.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    token: u128,
    service: ServiceName,
    id: InstanceId,
}

impl Hash for Key {
    /// The service is mostly the same.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.token.hash(state);
        self.id.hash(state);
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// The revision of the last write that was acknowledged.
    acknowledged: u64,
    /// The highest sequence number in use.
    sequence: u64,
    ttl: Ttl,
    used: Instant,
}

fn key(lease: &Lease) -> Key {
    Key { token: lease.key(), service: lease.service().clone(), id: lease.id().clone() }
}

impl HeldLeases {
    /// The revision that the entry must have reached: 0 where nothing is known.
    pub(crate) fn acknowledged(&self, lease: &Lease) -> u64 {
        self.with(|state| {
            let held = state.leases.get_mut(&key(lease));
            held.map_or(0, |held| {
                held.used = Instant::now();
                held.acknowledged
            })
        })
    }

    /// A number for the next write, higher than those before; 0 where nothing is known.
    pub(crate) fn next(&self, lease: &Lease) -> u64 {
        self.with(|state| {
            let held = state.leases.get_mut(&key(lease));
            held.map_or(0, |held| {
                held.sequence += 1;
                held.sequence
            })
        })
    }

    /// It was registered, or registered again, and the entry is of this revision.
    pub(crate) fn registered(&self, lease: &Lease, revision: u64, sequence: u64, ttl: Ttl) {
        self.with(|state| {
            let now = Instant::now();
            let known = state.leases.get(&key(lease)).map_or(0, |held| held.sequence);
            let held = Held { acknowledged: revision, sequence: known.max(sequence), ttl, used: now };
            state.leases.insert(key(lease), held);
            if state.leases.len() > state.sweep_at {
                state.leases.retain(|_, held| now - held.used < held.ttl.get() * 2);
                state.sweep_at = (state.leases.len() * 2).max(64);
            }
        });
    }

    /// A write was acknowledged, or a heartbeat has shown the entry.
    pub(crate) fn written(&self, lease: &Lease, revision: u64, sequence: u64) {
        self.with(|state| {
            if let Some(held) = state.leases.get_mut(&key(lease)) {
                held.acknowledged = held.acknowledged.max(revision);
                held.sequence = held.sequence.max(sequence);
                held.used = Instant::now();
            }
        });
    }

    /// It was given up. What was written is still counted, so that a later registration by the same token is known to be later.
    pub(crate) fn forget(&self, lease: &Lease) {
        self.with(|state| {
            if let Some(held) = state.leases.get_mut(&key(lease)) {
                held.acknowledged = 0;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use registry_core::Incarnation;

    use super::*;

    fn lease(key: u128) -> Lease {
        Lease::new(
            ServiceName::new("user.rpc").unwrap(),
            InstanceId::new("a:1").unwrap(),
            Incarnation::new(1),
            key,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn leases_that_nobody_uses_are_forgotten() {
        let held = HeldLeases::default();
        let ttl = Ttl::from_secs(10).unwrap();
        for key in 0..100 {
            held.registered(&lease(key), 1, 1, ttl);
        }
        tokio::time::advance(Duration::from_secs(25)).await;
        for key in 100..300 {
            held.registered(&lease(key), 1, 1, ttl);
        }
        assert_eq!(held.acknowledged(&lease(0)), 0);
        assert_eq!(held.acknowledged(&lease(150)), 1);
        assert!(held.state.lock().unwrap().leases.len() <= 200);
    }

    #[tokio::test(start_paused = true)]
    async fn later_writes_have_higher_numbers_and_what_was_acknowledged_never_falls() {
        let held = HeldLeases::default();
        let lease = lease(1);
        assert_eq!((held.next(&lease), held.acknowledged(&lease)), (0, 0));
        held.registered(&lease, 5, 1, Ttl::default());
        assert_eq!((held.next(&lease), held.next(&lease)), (2, 3));
        held.written(&lease, 7, 3);
        held.written(&lease, 6, 2);
        assert_eq!((held.next(&lease), held.acknowledged(&lease)), (4, 7));
        held.registered(&lease, 3, 0, Ttl::default());
        assert_eq!((held.next(&lease), held.acknowledged(&lease)), (5, 3), "an older value was taken over");
    }
}
