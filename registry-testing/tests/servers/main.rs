//! The servers that suites against real backends stand on, and the proxy: that each control does what it says.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cluster;
mod disk;
mod node;
mod process;
mod proxy;
mod redis;
mod space;
mod support;
mod versions;
