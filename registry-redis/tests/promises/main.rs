//! What the backend promises beyond the conformance suite, on real Redis: users with the least rights, passwords and certificates.
//!
//! `REGISTRY_TEST_REDIS` names another Redis than the one in `PATH`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod security;
mod support;
