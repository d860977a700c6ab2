//! The servers in containers: that each control does what it says. Needs a Docker engine and the images of `make images`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod end;
mod etcd;
mod redis;
mod redis_groups;
