//! Numbers of 64 bits as 16 hexadecimal digits, as which scripts are told them and store them. Pure.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The digits of a number.
pub(crate) fn digits(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    digits
}

/// The number of 16 digits, small or capital, as scripts take either. None for anything else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let digits: &[u8; 16] = digits.try_into().ok()?;
    digits.iter().try_fold(0, |number, byte| Some(number << 4 | u64::from(digit(*byte)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_its_digits_say() {
        for known in [0, 1, 0x9e37_79b9_7f4a_7c15, u64::MAX] {
            assert_eq!(digits(known), format!("{known:016x}").as_bytes());
            assert_eq!(number(&digits(known)), Some(known));
            assert_eq!(number(&digits(known).to_ascii_uppercase()), Some(known));
        }
    }

    #[test]
    fn what_is_not_16_digits_is_no_number() {
        let others =
            ["", "0", "00000000000000001", "+000000000000001", "000000000000000g", "0000000 00000001"];
        for other in others {
            assert_eq!(number(other.as_bytes()), None, "{other:?}");
        }
    }
}
