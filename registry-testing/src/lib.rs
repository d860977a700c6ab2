//! Conformance suite for service registry backends.
