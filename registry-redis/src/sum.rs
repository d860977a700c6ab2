//! SHA-1 in hexadecimal digits, as scripts have it of `redis.sha1hex`. It tells by whom something was written, and keeps nobody out.

use std::fmt::Write;

use sha1::{Digest, Sha1};

/// All 40 digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(40);
    for byte in Sha1::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether these are the first digits.
pub(crate) fn begins(bytes: &[u8], digits: &[u8]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut of_sum = [0; 40];
    for (pair, byte) in of_sum.chunks_exact_mut(2).zip(Sha1::digest(bytes)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    of_sum.starts_with(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // FIPS 180-1, appendix A.
        let known = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(hex(b"abc"), known);
        assert!(begins(b"abc", &known.as_bytes()[..16]) && begins(b"abc", known.as_bytes()));
        for other in ["A9993E36", "a9993e37", "9993e364", &format!("{known}0")] {
            assert!(!begins(b"abc", other.as_bytes()), "{other}");
        }
    }
}
