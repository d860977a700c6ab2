//! Redis.

mod data;
mod disk;
mod node;
mod sentinel;
