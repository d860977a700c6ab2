//! Redis.

mod cluster;
mod data;
mod disk;
mod node;
mod sentinel;
