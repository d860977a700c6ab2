//! Conformance suite for service registry backends.

pub mod simulation;
