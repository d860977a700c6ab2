//! Balancing policies: which of the candidates gets the next piece of work.
//!
//! Every policy is a pure choice over a flat slice, such as [`ViewState::entries`](crate::ViewState::entries) or a balancer's own
//! endpoints. What they know of a candidate is its load ([`PeakEwma`]), or its rank by that, which the caller keeps. No pick allocates, locks or
//! panics, and each gives `None` only where there is no candidate, or none with a weight.
//!
//! | policy | looks at | of one that comes or leaves, moves |
//! | --- | --- | --- |
//! | [`p2c`], on the rank of each ([`PeakEwma::rank`]) | two | |
//! | [`RoundRobin`], [`random`] | one | |
//! | [`weighted`]: at random, by weight | all | |
//! | [`Weighted`]: at random or in turn, by weight, or two to choose from | two on average | a table to be made |
//! | [`rendezvous`]: by a key, by weight | all | only its own keys |
//! | [`rendezvous_bounded`]: as long as each has room ([`LoadBound`]) | all | its own keys, and some of those that were not where they belong |
//! | [`Ring`]: by a key, bounded or not | O(log n), and along the full ones | as the two above, and a table to be made |
//!
//! Who is to get nothing has weight 0; where nobody has a weight, the policies that go by it pick nobody.

mod bounded;
mod ewma;
mod moment;
mod p2c;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod weighted;

pub use self::bounded::LoadBound;
pub use self::ewma::PeakEwma;
pub use self::moment::Moment;
pub use self::p2c::p2c;
pub use self::random::{Draw, random};
pub use self::rendezvous::{hash, rendezvous, rendezvous_bounded};
pub use self::ring::Ring;
pub use self::round_robin::RoundRobin;
pub use self::weighted::{Weighted, weighted};
