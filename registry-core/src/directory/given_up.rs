//! Who was given up after its time, for a while: if it comes back as the same incarnation, it had been alive. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::Incarnation;
use crate::name::InstanceId;
use crate::snapshot::{Entry, Snapshot};

#[derive(Debug, Default)]
pub(super) struct GivenUp {
    claims: BTreeMap<InstanceId, (Incarnation, Instant)>,
    /// The same, in the order of time.
    order: BTreeSet<(Instant, InstanceId)>,
}

impl GivenUp {
    pub(super) fn add(&mut self, entry: &Entry, now: Instant) {
        self.remove(entry.id());
        // Of what other hands wrote, nothing tells two processes from each other.
        if entry.incarnation() == Incarnation::default() {
            return;
        }
        self.claims.insert(entry.id().clone(), (entry.incarnation(), now));
        self.order.insert((now, entry.id().clone()));
    }

    /// Whether this is one that was given up.
    pub(super) fn comes_back(&mut self, entry: &Entry) -> bool {
        self.remove(entry.id()) == Some(entry.incarnation())
    }

    /// How many of these were given up.
    pub(super) fn come_back(&mut self, live: &Snapshot) -> usize {
        let back: Vec<_> = self.claims.keys().filter_map(|id| live.get(id)).collect();
        back.into_iter().filter(|entry| self.comes_back(entry)).count()
    }

    /// Forgets whom it was told of longer ago than this.
    pub(super) fn forget(&mut self, longest: Duration, now: Instant) {
        while let Some((at, id)) = self.order.first().cloned()
            && now.saturating_duration_since(at) > longest
        {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &InstanceId) -> Option<Incarnation> {
        let (incarnation, at) = self.claims.remove(id)?;
        self.order.remove(&(at, id.clone()));
        Some(incarnation)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.claims.len(), self.order.len());
        self.order.len()
    }
}
