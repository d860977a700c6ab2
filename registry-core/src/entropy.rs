//! The only places that ask the operating system for randomness and the time of day. All else takes a seed, or tokio's
//! clock.

#![allow(clippy::disallowed_methods)]

use std::time::{SystemTime, UNIX_EPOCH};

/// A number nobody can guess the next of, from the per-process and per-thread keys of the standard library's hasher
/// and fastrand's generator.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(fastrand::u64(..));
    hasher.write_u64(unix_millis());
    hasher.finish()
}

/// Milliseconds since 1970; 0 when the clock stands before.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
