//! What this backend promises beyond the conformance suite, on real Redis: the program that `REGISTRY_TEST_REDIS` names, or the one in
//! `PATH`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod absence;
mod churn;
mod clock;
mod cluster;
mod copies;
mod detection;
mod ghosts;
mod history;
mod outage;
mod owner;
mod refusal;
mod restart;
mod restricted;
mod scale;
mod security;
mod sentinel;
mod support;
mod told;
mod wiped;
