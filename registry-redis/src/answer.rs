//! What a script answers: a word, the server's time, and then what belongs to the word.

use redis::Value;
use registry_core::{Operation, Result};

use crate::error::strange;
use crate::link::{into_text, text};

/// Whether a script says that it has done what it was asked to do.
pub(crate) fn is_done(answer: &Value) -> bool {
    let word = answer.as_sequence().and_then(|parts| parts.first());
    matches!(word, Some(Value::BulkString(word)) if word == b"OK")
}

#[derive(Debug)]
pub(crate) struct Answer {
    operation: Operation,
    word: String,
    now: i64,
    parts: std::vec::IntoIter<Value>,
}

impl Answer {
    pub(crate) fn read(operation: Operation, value: Value) -> Result<Self> {
        let parts = value.into_sequence().map_err(|_| strange(operation, "no list"))?;
        let mut parts = parts.into_iter();
        let word = parts.next().and_then(into_text).ok_or_else(|| strange(operation, "no word"))?;
        let now = match parts.next() {
            Some(Value::Int(now)) => now,
            _ => return Err(strange(operation, "no time")),
        };
        Ok(Self { operation, word, now, parts })
    }

    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    /// The server's time, in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// The next part, as a number of its own or in text.
    pub(crate) fn number(&mut self) -> Result<i64> {
        let part = self.parts.next();
        let number = match &part {
            Some(Value::Int(number)) => Some(*number),
            Some(value) => text(value).and_then(|text| text.parse().ok()),
            None => None,
        };
        number.ok_or_else(|| strange(self.operation, "no number"))
    }

    /// The next part, a number that is not negative.
    pub(crate) fn count(&mut self) -> Result<u64> {
        let number = self.number()?;
        u64::try_from(number).map_err(|_| strange(self.operation, "a negative number"))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.parts.next().and_then(into_text).ok_or_else(|| strange(self.operation, "no text"))
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Value>> {
        let list = self.parts.next().and_then(|value| value.into_sequence().ok());
        list.ok_or_else(|| strange(self.operation, "no list"))
    }
}
