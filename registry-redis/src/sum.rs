//! SHA-1, as scripts have it of `redis.sha1hex`. It tells by whom something was written, and keeps nobody out.

use std::fmt::Write;

use sha1::{Digest, Sha1};

use crate::hex;

/// All 40 digits.
pub(crate) fn sum(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(40);
    for byte in Sha1::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether these are the first 16 digits, as scripts write them: in capitals they are not.
pub(crate) fn begins(bytes: &[u8], digits: &[u8; 16]) -> bool {
    let sum: [u8; 20] = Sha1::digest(bytes).into();
    // Writing the sum's digits takes less time than reading those that are given.
    sum.first_chunk().is_some_and(|first| hex::digits(u64::from_be_bytes(*first)) == *digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // FIPS 180-1, appendix A.
        let known = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(sum(b"abc"), known);
        assert!(begins(b"abc", b"a9993e364706816a") && known.starts_with("a9993e364706816a"));
        for other in [b"A9993E364706816A", b"a9993e364706816b", b"b9993e364706816a"] {
            assert!(!begins(b"abc", other), "{other:?}");
        }
    }
}
