//! Errors as text for people.

use std::error::Error;
use std::fmt::Write;

/// The error and what caused it, on one line, without saying anything twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_core::{Error, ErrorKind, Operation};

    #[test]
    fn every_cause_is_told_once() {
        let io = std::io::Error::other("broken pipe");
        let error = Error::new(ErrorKind::Unavailable, Operation::Lookup, "no answer").with_source(io);
        assert_eq!(chain(&error), "lookup: registry unavailable: no answer: broken pipe");
        let twice = Error::new(ErrorKind::Unavailable, Operation::Watch, "cut")
            .with_source(std::io::Error::other("cut"));
        assert_eq!(chain(&twice), "watch: registry unavailable: cut");
    }
}
