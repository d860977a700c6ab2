//! Numbers in sentences.

/// Of `1234567.0`, `1,234,567`.
pub(in crate::claims) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Of seconds: `1.2 s`, `250 ms`.
pub(in crate::claims) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// A number, where there is one.
pub(in crate::claims) fn or_dash(number: Option<f64>, write: impl Fn(f64) -> String) -> String {
    number.map_or("–".to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::{count, seconds};

    #[test]
    fn numbers_are_grouped_and_times_have_their_unit() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1_234_567.0].map(count),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
        assert_eq!([0.25, 1.25].map(seconds), ["250 ms", "1.2 s"].map(str::to_owned));
    }
}
