//! How a store behaves.

use std::time::Duration;

use registry_core::resume::ResumeOptions;

/// How an in-memory store behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// How many revisions of each service are kept for watches to resume from, at least 1. Default: 1024.
    pub history: usize,
    /// How many instances the store takes before new ones get [`StoreFull`](registry_core::ErrorKind::StoreFull). Default: no
    /// bound.
    pub capacity: usize,
    /// How long after their deadline entries stay listed; told in `guarantees()`. Default: zero. For tests of what must
    /// live with a store that is not exact.
    pub expiry_lag: Duration,
    /// How watches deal with trouble.
    pub resume: ResumeOptions,
    /// From which the identity of the store's epochs is made; for tests only, because a cursor of one store is taken for one of another
    /// with the same seed. Default: from the operating system.
    pub seed: Option<u64>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            history: 1024,
            capacity: usize::MAX,
            expiry_lag: Duration::ZERO,
            resume: ResumeOptions::default(),
            seed: None,
        }
    }
}

impl MemoryOptions {
    /// Sets how many revisions of each service are kept.
    #[must_use]
    pub fn with_history(mut self, history: usize) -> Self {
        self.history = history.max(1);
        self
    }

    /// Sets how many instances the store takes.
    #[must_use]
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets how long after their deadline entries stay listed.
    #[must_use]
    pub fn with_expiry_lag(mut self, lag: Duration) -> Self {
        self.expiry_lag = lag;
        self
    }

    /// Sets how watches deal with trouble.
    #[must_use]
    pub fn with_resume(mut self, resume: ResumeOptions) -> Self {
        self.resume = resume;
        self
    }

    /// Makes everything that is drawn come from `seed`.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self.resume = self.resume.with_seed(seed);
        self
    }
}
