//! Conformance suite for service registry backends.
//!
//! [`mod@conformance`] is the contract of [`Registry`](registry_core::Registry) as a list of named tests that any backend runs, also one that is
//! not of this project: implement [`conformance::Backend`] for a harness and call [`conformance!`]. [`MemoryBackend`] is the harness of the
//! in-memory backend, with every control that it has.

pub mod conformance;
mod memory;
#[cfg(feature = "servers")]
pub mod servers;
pub mod simulation;

pub use crate::memory::MemoryBackend;
