//! Redis.

mod clock;
mod cluster;
mod data;
mod disk;
mod node;
mod sentinel;
mod versions;
