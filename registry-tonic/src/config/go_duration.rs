//! Durations as Go writes them: `1m30s`, `1.5h`, `200ms`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A duration that is read from Go's text for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format_args!("{text:?} is no duration, such as 20s, 1m30s or 500ms"))
        })
    }
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) =
            after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        // Nothing that is configured needs more digits than a float has.
        let number: f64 = number.parse().ok()?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("20s", 20_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("200ms", 200),
            (".5s", 500),
            ("1h2m3s4ms", 3_723_004),
            ("1000us", 1),
            ("1000µs", 1),
            ("1000000ns", 1),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in
            ["", "20", "s", "1d", "-1s", "+1s", "1 s", "1s ", ".s", "1.2.3s", "1e3s", "99999999999999999999h"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
