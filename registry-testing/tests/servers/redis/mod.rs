//! Redis.

mod clock;
mod cluster;
mod data;
mod disk;
mod groups;
mod node;
mod sentinel;
mod versions;
