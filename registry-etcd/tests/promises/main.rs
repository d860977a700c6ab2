//! What the backend promises beyond the conformance suite, on real etcd: clusters that lose members, outages, sizes, users and certificates,
//! go-zero's layout.
//!
//! `REGISTRY_TEST_ETCD` names another etcd than the one in `PATH`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod cluster;
mod full;
mod go_zero;
mod goodbye;
mod history;
mod idle;
mod lives;
mod malformed;
mod outage;
mod owner;
mod scale;
mod security;
mod support;
mod takeover;
