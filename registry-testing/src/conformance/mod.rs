//! The contract of [`Registry`](registry_core::Registry) as a list of named async functions that any backend runs.
//!
//! A backend implements [`Backend`]: how to get a client of a fresh store, and what tests can do to that store
//! ([`Control`]). The macro [`conformance!`](crate::conformance!) then makes one named test of every promise:
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use registry_core::Registry;
//! use registry_memory::MemoryRegistry;
//! use registry_testing::conformance::Backend;
//!
//! /// Your backend takes the place of `MemoryRegistry`.
//! #[derive(Debug)]
//! struct Harness {
//!     store: MemoryRegistry,
//! }
//!
//! #[async_trait]
//! impl Backend for Harness {
//!     async fn client(&self) -> Arc<dyn Registry> {
//!         Arc::new(self.store.client())
//!     }
//!
//!     async fn wipe(&self) {
//!         self.store.controls().wipe();
//!     }
//! }
//!
//! registry_testing::conformance! {
//!     mod mine;
//!     harness: Harness { store: MemoryRegistry::new() };
//!     clock: paused;
//!     controls: [wipe];
//! }
//! # fn main() {}
//! ```
//!
//! - `harness` is made anew for every test, inside its runtime: it may `.await`. Each must have a store, or a prefix, of its own,
//!   and what it holds is dropped when the test is over. Written as `harness |needs|: …`, it is told which controls its test uses: a
//!   harness can then start a cluster only for a test that loses a minority, and a single server for all others.
//! - `clock: paused` runs on tokio's paused clock (nothing takes time; for backends in this process), `clock: real`
//!   on the real one (for servers). With a server the tests are meant to run side by side: most only wait.
//! - **Skipped is not passed.** A promise that needs a control which is not listed becomes an ignored test that names the control
//!   and fails when run all the same. [`left_out`] lists them.
//!
//! The functions can also be called one by one; [`PROMISES`] is the table of all. Every watch in the suite is read through one
//! checker, which holds each item against W1, W2, W3, W5 and W9 whatever the test is about.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a promise that is not kept is told by a panic: that is what these functions are for"
)]

mod backend;
pub mod consumers;
pub mod deregistering;
pub mod dropping;
pub mod errors;
pub mod fencing;
pub mod guarantees;
pub mod healing;
pub mod lease_loss;
pub mod leases;
pub mod lookup;
pub mod malformed;
pub mod names;
pub mod registering;
pub mod services;
mod suite;
mod support;
pub mod updating;
pub mod watch_changes;
pub mod watch_crowds;
pub mod watch_gaps;
pub mod watch_resume;
pub mod watch_start;
pub mod watch_trouble;
mod watcher;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use self::backend::{Backend, Control, Link};

/// A test: panics unless the backend keeps the promise.
pub type Check = for<'a> fn(&'a dyn Backend) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A promise of the contract, as a test.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Promise {
    /// The topic: a module of [`conformance`](self).
    pub topic: &'static str,
    /// The name of the function, which says the promise.
    pub name: &'static str,
    /// What it needs to do to the store.
    pub needs: &'static [Control],
    /// Panics unless the backend keeps the promise.
    pub check: Check,
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{} {:?}", self.topic, self.name, self.needs)
    }
}

/// Every promise of the contract.
pub static PROMISES: &[Promise] = crate::__conformance_list!(table {});

/// The promises that cannot be tested on a backend with only these controls.
pub fn left_out(controls: &[Control]) -> impl Iterator<Item = &'static Promise> {
    PROMISES.iter().filter(|promise| promise.needs.iter().any(|need| !controls.contains(need)))
}

/// Which clock a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Tokio's paused clock: whenever all tasks wait, it jumps to the next moment one waits for.
    Paused,
    /// The real one.
    Real,
}

/// Runs a test on a runtime of its own, of one thread.
pub fn run(clock: Clock, test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(clock == Clock::Paused).build();
    runtime.expect("a runtime for the test").block_on(test);
}
