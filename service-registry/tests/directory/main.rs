//! What guarded views, and views on disk, promise over each kind of registry.
#![cfg(all(feature = "memory", feature = "etcd", feature = "redis"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod cold;
mod killed;
mod leaving;
mod stage;
mod wiped;
