//! What gRPC clients and servers promise their users, over each kind of registry.
#![cfg(all(feature = "memory", feature = "etcd", feature = "redis", feature = "tonic"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod away;
mod calls;
mod child;
mod hole;
mod kill;
mod leaks;
mod life;
mod restart;
mod scale;
mod slow;
mod stage;
#[path = "../../../registry-tonic/tests/support/mod.rs"]
mod support;
