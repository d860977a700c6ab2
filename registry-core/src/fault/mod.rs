//! Seeded faults over any registry, for tests: above the resume machine ([`Faulty`]: every operation) and below it
//! ([`FaultySource`]: every feed).
//!
//! All faults are lawful: an operation fails, is late, hangs, or happens although its answer is lost; a feed cannot be opened,
//! is cut, stalls or delivers late. None delivers what is not true. So whatever a program promises over a registry, it must keep
//! over a faulty one.

mod plan;
mod registry;
mod source;

pub use self::plan::{FaultPlan, Faults};
pub use self::registry::Faulty;
pub use self::source::FaultySource;
