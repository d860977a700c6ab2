//! What is random or of the clock, as its shape.

/// Fewer digits than this are a number that means something.
const LONG: usize = 9;
/// A sum in hexadecimal digits, such as the name of a script: the same for everybody.
const SUM: usize = 40;

/// The text with everything that no two clients have in common replaced by how long it is: nonces, tokens, times in milliseconds.
pub(crate) fn shape(text: &str) -> String {
    let mut shaped = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end.max(first.len_utf8()));
        let told = digits.len() < LONG || digits.len() == SUM || digits.bytes().all(|digit| digit == b'0');
        if told {
            shaped.push_str(digits);
        } else if digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.len() == 13 {
            shaped.push_str("<time>");
        } else {
            shaped.push_str(&format!("<{} digits>", digits.len()));
        }
        rest = after;
    }
    shaped
}

#[test]
fn what_is_random_or_of_the_clock_is_told_by_its_shape_alone() {
    let shaped =
        shape(r#"{"id":"i-000001","incarnation":1700000000000,"token":"0123456789abcdef0123456789abcdef"}"#);
    assert_eq!(shaped, r#"{"id":"i-000001","incarnation":<time>,"token":"<32 digits>"}"#);
    assert_eq!(shape("0000000000000000"), "0000000000000000", "what is not known yet is another thing");
    let sum = "5a".repeat(20);
    assert_eq!(shape(&sum), sum);
}
