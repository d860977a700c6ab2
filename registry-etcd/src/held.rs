//! What this client knows of its leases: what it wrote last under each, by which an overwrite, and a restored older value, are noticed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, OwnerToken, Revision, Ttl};
use tokio::time::Instant;

/// The last write under a lease.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Its revision.
    pub(crate) modified: i64,
    pub(crate) incarnation: Incarnation,
    pub(crate) token: OwnerToken,
    pub(crate) registered: Revision,
    /// The key beside the guard.
    pub(crate) beside: Option<String>,
    pub(crate) ttl: Ttl,
}

impl Written {
    /// What is to be stored when `instance` is published next.
    pub(crate) fn with(&self, instance: &Instance) -> Stored {
        Stored::new(instance.clone(), self.incarnation, self.token).with_registered(self.registered)
    }
}

/// What is known of a lease.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Nothing for certain: it was got elsewhere, or a write ended without an answer.
    Nothing,
    /// A write is under way.
    Changing,
    /// What was written last.
    Written(Written),
    /// That it holds nothing any more. That it was lost is said as often as it is used.
    Lost,
}

/// By lease. What was not used for two TTLs is forgotten: its lease is over.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<i64, Held>,
    /// When there are so many, those that are over are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct Held {
    written: Option<Written>,
    /// Whether nothing later can have been written by this client.
    certain: bool,
    /// Writes under way.
    writes: usize,
    lost: bool,
    /// How often any of this changed.
    version: u64,
    used: Instant,
}

impl HeldLeases {
    /// What is known, and a number that changes with it.
    pub(crate) fn known(&self, lease: i64) -> (Known, u64) {
        self.with(|state| {
            let Some(held) = state.leases.get_mut(&lease) else { return (Known::Nothing, 0) };
            held.used = Instant::now();
            let known = match &held.written {
                _ if held.lost => Known::Lost,
                _ if held.writes > 0 => Known::Changing,
                Some(written) if held.certain => Known::Written(written.clone()),
                _ => Known::Nothing,
            };
            (known, held.version)
        })
    }

    /// This was written, or found to be what is there. What is older than what is known changes nothing.
    pub(crate) fn learn(&self, lease: i64, written: Written) {
        self.change(lease, |held| held.take(written));
    }

    /// A write begins.
    pub(crate) fn begin_write(&self, lease: i64) -> Write<'_> {
        self.change(lease, |held| held.writes += 1);
        Write { leases: self, lease, open: true }
    }

    /// It holds nothing any more.
    pub(crate) fn lose(&self, lease: i64) {
        self.change(lease, |held| held.lost = true);
    }

    pub(crate) fn forget(&self, lease: i64) {
        self.with(|state| state.leases.remove(&lease));
    }

    fn change(&self, lease: i64, change: impl FnOnce(&mut Held)) {
        self.with(|state| {
            let now = Instant::now();
            let held = state.leases.entry(lease).or_insert_with(|| Held {
                written: None,
                certain: false,
                writes: 0,
                lost: false,
                version: 0,
                used: now,
            });
            held.used = now;
            held.version += 1;
            change(held);
            if state.leases.len() > state.sweep_at {
                state.leases.retain(|_, held| held.writes > 0 || now - held.used < held.ttl() * 2);
                state.sweep_at = (state.leases.len() * 2).max(64);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn take(&mut self, written: Written) {
        if self.written.as_ref().is_none_or(|present| present.modified <= written.modified) {
            self.written = Some(written);
        }
        self.certain = true;
        self.lost = false;
    }

    fn ttl(&self) -> std::time::Duration {
        self.written.as_ref().map_or(Ttl::default(), |written| written.ttl).get()
    }
}

/// A write under way. Dropped without an answer, what is there is not known any more.
pub(crate) struct Write<'a> {
    leases: &'a HeldLeases,
    lease: i64,
    open: bool,
}

impl Write<'_> {
    pub(crate) fn acknowledged(mut self, written: Written) {
        self.open = false;
        self.leases.change(self.lease, |held| {
            held.writes = held.writes.saturating_sub(1);
            held.take(written);
        });
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if self.open {
            self.leases.change(self.lease, |held| {
                held.writes = held.writes.saturating_sub(1);
                held.certain = false;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(modified: i64) -> Written {
        Written {
            modified,
            incarnation: Incarnation::new(1),
            token: OwnerToken::from_u128(1),
            registered: Revision::new(1),
            beside: None,
            ttl: Ttl::from_secs(10).unwrap(),
        }
    }

    fn modified(held: &HeldLeases, lease: i64) -> Option<i64> {
        match held.known(lease).0 {
            Known::Written(written) => Some(written.modified),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leases_that_nobody_uses_are_forgotten() {
        let held = HeldLeases::default();
        for lease in 0..100 {
            held.learn(lease, written(1));
        }
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(modified(&held, 7), Some(1));
        tokio::time::advance(Duration::from_secs(15)).await;
        for lease in 100..300 {
            held.learn(lease, written(1));
        }
        assert_eq!(modified(&held, 7), Some(1), "it was used within two TTLs");
        assert_eq!(modified(&held, 8), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_does_not_hide_a_later_write() {
        let held = HeldLeases::default();
        held.learn(1, written(2));
        let (first, second) = (held.begin_write(1), held.begin_write(1));
        assert!(matches!(held.known(1).0, Known::Changing));
        second.acknowledged(written(4));
        assert!(matches!(held.known(1).0, Known::Changing));
        first.acknowledged(written(3));
        assert_eq!(modified(&held, 1), Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_write_without_an_answer_nothing_is_known_until_the_next_one() {
        let held = HeldLeases::default();
        held.learn(1, written(2));
        drop(held.begin_write(1));
        assert!(matches!(held.known(1).0, Known::Nothing));
        held.begin_write(1).acknowledged(written(5));
        assert_eq!(modified(&held, 1), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_lease_is_lost_is_remembered_until_it_is_registered_again() {
        let held = HeldLeases::default();
        held.lose(1);
        for _ in 0..3 {
            assert!(matches!(held.known(1).0, Known::Lost));
        }
        held.learn(1, written(2));
        assert_eq!(modified(&held, 1), Some(2));
    }
}
