//! The deadline of a call, as gRPC says it: in a header, as the time that is left.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use registry_core::time::later;
use tokio::time::Instant;

/// Until when, and how long that was from the beginning of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) allowed: Duration,
}

impl Deadline {
    /// Of a call that begins at `now`, if it has one.
    pub(super) fn of(headers: &HeaderMap, now: Instant) -> Option<Self> {
        grpc_timeout(headers).map(|allowed| Self { at: later(now, allowed), allowed })
    }

    /// Tells a server what is left at `now`: the header says how long the call may take from its arrival there.
    pub(super) fn tell(self, headers: &mut HeaderMap, now: Instant) {
        let left = self.at.saturating_duration_since(now);
        if let Ok(value) = HeaderValue::try_from(grpc_timeout_of(left)) {
            headers.insert(&GRPC_TIMEOUT, value);
        }
    }
}

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long the caller is willing to wait, from the header that gRPC has for it: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The same the other way round, as exactly as eight digits are; at least a nanosecond.
fn grpc_timeout_of(timeout: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (1, "n"),
        (1_000, "u"),
        (1_000_000, "m"),
        (1_000_000_000, "S"),
        (60_000_000_000, "M"),
        (3_600_000_000_000, "H"),
    ];
    const MOST: u128 = 99_999_999;
    let nanos = timeout.as_nanos().max(1);
    let fits = UNITS.iter().find(|(length, _)| nanos / length <= MOST);
    let (length, unit) = fits.unwrap_or(&UNITS[5]);
    format!("{}{unit}", (nanos / length).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_timeout_is_written_as_exactly_as_can_be() {
        for (timeout, expected) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_micros(7_500_001), "7500001u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(6_000_000_000), "1666666H"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(grpc_timeout_of(timeout), expected);
        }
    }

    #[test]
    fn a_timeout_is_read_as_grpc_defines_it() {
        let read = |text: &'static str| {
            let header = ("grpc-timeout", text);
            let request = Request::builder().header(header.0, header.1).body(()).unwrap();
            grpc_timeout(request.headers())
        };
        for (text, expected) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("99999999m", 99_999_999)]
        {
            assert_eq!(read(text), Some(Duration::from_millis(expected)));
        }
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        for bad in ["", "S", "1", "1s", "+1S", "123456789S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
