//! What is done in topics and by criterion: the library's way, and beside it what does the same work without the library.

pub mod delivery;
pub mod folding;
pub mod grpc;
pub mod open_loop;
pub mod picking;
pub mod pooled;
pub mod timed;
