//! Numbers in sentences.

use crate::report::format::NOTHING;

/// A number, where there is one.
pub(in crate::claims) fn or_dash(number: Option<f64>, write: impl Fn(f64) -> String) -> String {
    number.map_or(NOTHING.to_owned(), write)
}
