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
pub(crate) fn begins(bytes: &[u8], digits: &str) -> bool {
    let sum = Sha1::digest(bytes);
    let mut of_sum = sum
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    digits.bytes().all(|digit| of_sum.next() == Some(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // FIPS 180-1, appendix A.
        let known = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(hex(b"abc"), known);
        assert!(begins(b"abc", &known[..16]) && begins(b"abc", known));
        for other in ["A9993E36", "a9993e37", "9993e364", &format!("{known}0")] {
            assert!(!begins(b"abc", other), "{other}");
        }
    }
}
