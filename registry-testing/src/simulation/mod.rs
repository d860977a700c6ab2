//! Deterministic simulation: real registrars, directories and watches over the in-memory backend, on a paused clock, under seeded
//! faults, checked against the contract.
//!
//! One seed decides everything: what is done, what breaks and when. [`run`] plays it and gives a [`Report`]; the same
//! seed gives the same [`Report::trace`] again. What every client saw ([`history`]) is compared with what really happened (the store's
//! journal) by pure functions ([`check`]). That the checks can fail is shown by [`Mutant`]s: planted defects, each of which some
//! seed must find.
//!
//! ```
//! let report = registry_testing::simulation::run(7, None);
//! assert!(report.violations.is_empty(), "{report}");
//! ```

#![allow(clippy::expect_used, reason = "what a simulation builds is good by construction")]

pub mod check;
mod client;
mod driver;
mod files;
mod guard_check;
mod guard_model;
mod guarded;
pub mod history;
mod mutant;
mod process;
mod tap;
mod truth;

use std::fmt;

pub use self::driver::run;
pub use self::mutant::Mutant;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise: I1 to I17 of a registry's invariants, in short words.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many operations were invoked, heartbeats included.
    pub operations: usize,
    /// How many faults the nemesis injected; those of the dice come on top.
    pub faults: usize,
    /// What was found; empty is good.
    pub violations: Vec<Violation>,
    /// Everything that happened, a line each.
    pub trace: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} operations, {} faults", self.seed, self.operations, self.faults)?;
        for violation in &self.violations {
            writeln!(f, "  VIOLATED {}: {}", violation.invariant, violation.what)?;
        }
        write!(f, "  again, with its trace: make simulate SEED={}", self.seed)
    }
}
