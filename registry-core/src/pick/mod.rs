//! Balancing policies: which of the candidates gets the next piece of work.
//!
//! Every policy is a pure choice over a flat slice, such as [`ViewState::entries`](crate::ViewState::entries) or a balancer's own
//! endpoints. What they know of a candidate is its load ([`PeakEwma`]), which the caller keeps. None allocates, locks or
//! panics, and each gives `None` only for an empty slice.

mod ewma;
mod p2c;
mod random;
mod rendezvous;
mod round_robin;

pub use self::ewma::PeakEwma;
pub use self::p2c::p2c;
pub use self::random::{Draw, random};
pub use self::rendezvous::{hash, rendezvous};
pub use self::round_robin::RoundRobin;
