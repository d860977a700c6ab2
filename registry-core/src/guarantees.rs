//! What a backend, as deployed, promises.

use std::time::Duration;

use crate::lease::Ttl;

/// What a backend, as deployed, promises. Each field is checked by the conformance suite, with a test that fails when
/// more is claimed than is true.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Guarantees {
    /// Between which changes revisions can be compared.
    pub revision_scope: RevisionScope,
    /// Whether every lookup shows all changes acknowledged before it was invoked.
    pub linearizable_reads: bool,
    /// How long after its deadline an entry may still be listed, in a healthy system in which few fall due together. The backend's documentation says how it
    /// grows with many.
    pub expiry_bound: Duration,
    /// What happens to leases when the store restarts, fails over or loses contact to all clients.
    pub after_disruption: AfterDisruption,
    /// The least TTL that is granted; a lesser one is raised to it.
    pub min_ttl: Ttl,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// After faults end: within this time every watch equals `lookup`.
    pub convergence: Duration,
    /// Whether a watch that missed something says so.
    pub gap_detection: GapDetection,
    /// What a watch says of why an instance is gone.
    pub delete_causes: DeleteCauses,
}

impl Guarantees {
    /// The weakest promises; a backend strengthens what it can keep with the `with_*` methods.
    #[must_use]
    pub fn weakest() -> Self {
        Self {
            revision_scope: RevisionScope::Service,
            linearizable_reads: false,
            expiry_bound: Ttl::MAX.get(),
            after_disruption: AfterDisruption::MayExpireEarly,
            min_ttl: Ttl::MAX,
            durability: Durability::None,
            convergence: Duration::from_secs(60),
            gap_detection: GapDetection::None,
            delete_causes: DeleteCauses::Unknown,
        }
    }

    /// Sets [`revision_scope`](Self::revision_scope).
    #[must_use]
    pub fn with_revision_scope(mut self, scope: RevisionScope) -> Self {
        self.revision_scope = scope;
        self
    }

    /// Sets [`linearizable_reads`](Self::linearizable_reads).
    #[must_use]
    pub fn with_linearizable_reads(mut self, linearizable: bool) -> Self {
        self.linearizable_reads = linearizable;
        self
    }

    /// Sets [`expiry_bound`](Self::expiry_bound).
    #[must_use]
    pub fn with_expiry_bound(mut self, bound: Duration) -> Self {
        self.expiry_bound = bound;
        self
    }

    /// Sets [`after_disruption`](Self::after_disruption).
    #[must_use]
    pub fn with_after_disruption(mut self, after: AfterDisruption) -> Self {
        self.after_disruption = after;
        self
    }

    /// Sets [`min_ttl`](Self::min_ttl).
    #[must_use]
    pub fn with_min_ttl(mut self, ttl: Ttl) -> Self {
        self.min_ttl = ttl;
        self
    }

    /// Sets [`durability`](Self::durability).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets [`convergence`](Self::convergence).
    #[must_use]
    pub fn with_convergence(mut self, convergence: Duration) -> Self {
        self.convergence = convergence;
        self
    }

    /// Sets [`gap_detection`](Self::gap_detection).
    #[must_use]
    pub fn with_gap_detection(mut self, detection: GapDetection) -> Self {
        self.gap_detection = detection;
        self
    }

    /// Sets [`delete_causes`](Self::delete_causes).
    #[must_use]
    pub fn with_delete_causes(mut self, causes: DeleteCauses) -> Self {
        self.delete_causes = causes;
        self
    }
}

/// Between which changes revisions can be compared; ordered from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RevisionScope {
    /// Changes of the same service.
    Service,
    /// All changes of the store.
    Store,
}

/// What happens to leases when the store restarts, fails over or loses contact to all clients; ordered from weak to
/// strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AfterDisruption {
    /// Entries may be gone before their deadline; their owners register again.
    MayExpireEarly,
    /// Entries are listed until their deadline, and at most one TTL longer than the disruption.
    ExtendedByAtMostOneTtl,
    /// Deadlines hold as if nothing had happened.
    Exact,
}

/// What an acknowledged write survives; ordered from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it lives in the memory of one process.
    None,
    /// A crash of the server's process may lose the last writes, up to the time stated by the deployment.
    Window,
    /// A crash of the server's process.
    ProcessCrash,
    /// A power cut of the server.
    PowerCut,
    /// The loss of a minority of the servers.
    MinorityLoss,
}

/// Whether a watch that missed something says so; ordered from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GapDetection {
    /// Changes may be missed without a word.
    None,
    /// Every gap becomes a `Reset` with its cause.
    Always,
}

/// What a watch says of why an instance is gone, see [`DeleteCause`](crate::DeleteCause); ordered from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeleteCauses {
    /// It may say that it does not know.
    Unknown,
    /// It tells who has deregistered; of others it may not know whether their leases ran out, or whether somebody deleted them.
    Deregistered,
    /// It tells who has deregistered, and whose lease ran out: what it does not know the cause of was deleted by other hands.
    All,
}
